# One package, from winget's own source, for the whole machine.
& winget.exe install --exact --id $request.package --source winget --scope machine --silent `
    --accept-package-agreements --accept-source-agreements --disable-interactivity
if ($LASTEXITCODE -ne 0) { throw "winget install $($request.package) ended with code $LASTEXITCODE" }
