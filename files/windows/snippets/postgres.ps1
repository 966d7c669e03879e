# Every pg_dump.exe there is, with its version: the one named, the installer's (its registry key), Program Files.
$places = @()
if ($request.pg_dump) { $places += $request.pg_dump }
$keys = 'HKLM:\SOFTWARE\PostgreSQL\Installations\*'
foreach ($key in @(Get-ItemProperty -Path $keys -Name 'Base Directory' -ErrorAction SilentlyContinue)) {
    $places += [IO.Path]::Combine($key.'Base Directory', 'bin\pg_dump.exe')  # Join-Path refuses a drive that is gone
}
$pattern = Join-Path $env:ProgramFiles 'PostgreSQL\*\bin\pg_dump.exe'
$places += @(Get-ChildItem -Path $pattern -ErrorAction SilentlyContinue | ForEach-Object { $_.FullName })
$found = @{}
foreach ($place in ($places | Select-Object -Unique)) {
    if (-not (Test-Path -LiteralPath $place)) { continue }
    $version = & $place '--version'
    if ($LASTEXITCODE -eq 0) { $found[$place] = [string]$version }
}
Send-Answer $found
