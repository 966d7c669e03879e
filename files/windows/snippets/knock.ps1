# How this host reaches Redis: each address behind its name with the one of ours that goes there, and what it says.
$routes = @()
$said = ''
try {
    foreach ($address in [Net.Dns]::GetHostAddresses($request.server)) {
        # No packet is sent: the socket only learns its way.
        $way = New-Object Net.Sockets.UdpClient $address.AddressFamily
        $way.Connect($address, $request.port)
        $routes += , @([string]$address, [string]$way.Client.LocalEndPoint.Address)
        $way.Close()
    }
    $client = New-Object Net.Sockets.TcpClient
    if ($client.ConnectAsync($request.server, $request.port).Wait(5000)) {
        $stream = $client.GetStream()
        $stream.ReadTimeout = 3000
        $login = [Text.Encoding]::ASCII.GetBytes("AUTH $($request.caller) none`r`n")
        $stream.Write($login, 0, $login.Length)
        $answer = [byte[]]::new(200)
        $said = [Text.Encoding]::ASCII.GetString($answer, 0, $stream.Read($answer, 0, 200)).Trim()
    }
    $client.Close()
} catch { $null = $_ }  # a name that nobody knows, or no connection: nothing is said
Send-Answer @{ routes = $routes; said = $said }
