# One backup, now, as its task would make it.
& $request.script
if ($LASTEXITCODE -ne 0) { throw "$($request.script) ended with code ${LASTEXITCODE}: see what it said above, and its log" }
