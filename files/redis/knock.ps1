# What knock.sh asks, on a Windows host.
param([string]$Server, [int]$Port, [string]$Name)
foreach ($address in [Net.Dns]::GetHostAddresses($Server)) {
    try {
        # No packet is sent: the socket only learns its way.
        $way = New-Object Net.Sockets.UdpClient $address.AddressFamily
        $way.Connect($address, $Port)
        "route $address $($way.Client.LocalEndPoint.Address)"
        $way.Close()
    }
    catch { "route $address " }
}
try {
    $client = New-Object Net.Sockets.TcpClient
    if ($client.ConnectAsync($Server, $Port).Wait(5000)) {
        $stream = $client.GetStream()
        $stream.ReadTimeout = 3000
        $login = [Text.Encoding]::ASCII.GetBytes("AUTH $Name none`r`n")
        $stream.Write($login, 0, $login.Length)
        $said = New-Object byte[] 200
        $length = $stream.Read($said, 0, 200)
        "said $([Text.Encoding]::ASCII.GetString($said, 0, $length).Trim())"
    }
    $client.Close()
}
catch { $null = $_ }  # without a connection nothing is said
