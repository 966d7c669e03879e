# A part of the backup scripts. Managed by the project that deploys this host.
# --- A dump's SQL: what it needs of a server, and a copy in which psql obeys no command -----------------
#
# It is read as psql reads it: what stands in quotes, in a function's body or in a table's rows is no statement.

$Latin = [Text.Encoding]::GetEncoding(28591)  # each byte is one character, and comes out as it went in
$Marks = [char[]]'''"$/'
$Opening = [regex]('(?<![A-Za-z0-9_$\x80-\xff])[eE]''|[''"]|--|/\*' +
    '|(?<![A-Za-z0-9_$\x80-\xff])\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$')
$InQuotes = @{
    "'" = [regex]'\G(?>[^'']+|'''')*'
    '"' = [regex]'\G(?>[^"]+|"")*'
    "e'" = [regex]'\G(?>[^''\\]+|''''|\\.|\\$)*'
}
$Written = '("(?:[^"]|"")+"|[^\s",;]+)'
$NameList = "((?:$Written, )*$Written)"
# What only a superuser may make, by pg_dump's own words for it.
$Privileged = '^(EVENT TRIGGER|SUBSCRIPTION|FOREIGN DATA WRAPPER|ACCESS METHOD|OPERATOR CLASS|OPERATOR FAMILY)$'

# What is open at the end of a line, given what was open at its start: a quote, a body's $tag$, a comment, or nothing.
function Read-Line([string]$Line, [string]$Open) {
    $at = 0
    while ($at -lt $Line.Length) {
        if ($Open -eq '') {
            $found = $Opening.Match($Line, $at)
            if (-not $found.Success -or $found.Value -eq '--') { return '' }
            $at = $found.Index + $found.Length
            $Open = if ($found.Value -eq "e'") { "e'" } else { $found.Value }
        } elseif ($InQuotes.ContainsKey($Open)) {
            $at += $InQuotes[$Open].Match($Line, $at).Length
            if ($at -lt $Line.Length) { $Open = '' }
            $at += 1
        } else {
            $closing = if ($Open -eq '/*') { '*/' } else { $Open }
            $end = $Line.IndexOf($closing, $at, [StringComparison]::Ordinal)
            if ($end -lt 0) { return $Open }
            $at = $end + $closing.Length
            $Open = ''
        }
    }
    return $Open
}

# Notes the names of a list such as: reporting, "Lecteurs"
function Add-Names([hashtable]$Set, [string]$Names, [Text.Encoding]$Encoding) {
    foreach ($found in [regex]::Matches($Names, "(?:^|,)\s*$Written")) {
        $word = $found.Groups[1].Value
        if ($word.StartsWith('"')) { $word = $word.Substring(1, $word.Length - 2).Replace('""', '"') }
        if ($word -cne 'PUBLIC') { $Set[$Encoding.GetString($Latin.GetBytes($word))] = $true }
    }
}

# A whole statement as it is to be loaded, or nothing; what it needs of the server is noted.
function Select-Statement([hashtable]$Sift, [string]$Statement) {
    $encoding = $Sift.Encoding
    # A constraint or a default may have such words in a text: there a quote follows.
    if ($Statement -cmatch '(?s)^ALTER [A-Z ]+ .* OWNER TO ("(?:[^"]|"")+"|[^\s",;'']+);\s*$') {
        if ($Sift.NoOwner) { return '' }
        Add-Names $Sift.Owners $Matches[1] $encoding
    } elseif ($Sift.Type -cmatch '^(DEFAULT )?ACL$') {
        if ($Sift.NoOwner) { return '' }
        return Select-Grant $Sift $Statement
    } elseif ($Statement -cmatch '^CREATE POLICY ') {
        if ($Statement -cmatch "(?s)^.*? TO $NameList(?: USING \(| WITH CHECK \(|;\s*`$)") {
            Add-Names $Sift.Roles $Matches[1] $encoding
        }
    } elseif ($Statement -cmatch "^CREATE EXTENSION IF NOT EXISTS $Written") {
        Add-Names $Sift.Extensions $Matches[1] $encoding
    } elseif ($Statement -cmatch "^COMMENT ON EXTENSION $Written IS ") {
        $commented = @{}
        Add-Names $commented $Matches[1] $encoding
        # It came with the extension, which an administrator has made.
        if (@($commented.Keys | Where-Object { $Sift.Foreign -ccontains $_ }).Count) { return '' }
    } elseif ($Statement -cmatch '^CREATE ') {
        if (Test-Privileged $Sift.Type $Statement) { $Sift.Superuser[$Sift.Entry] = $true }
    } elseif ($Statement -cmatch "^SET client_encoding = '(\w+)';") {
        $Sift.Encoding = if ($Matches[1] -eq 'UTF8') { $Utf8 } else { $Latin }
    }
    return $Statement
}

# A superuser alone becomes another by SESSION AUTHORIZATION; a member of the role does by ROLE.
function Select-Grant([hashtable]$Sift, [string]$Statement) {
    if ($Statement -cmatch "^SET SESSION AUTHORIZATION $Written;") {
        Add-Names $Sift.Owners $Matches[1] $Sift.Encoding
    } elseif ($Statement -cmatch " (?:TO|FROM) $NameList(?: WITH GRANT OPTION)?;\s*`$") {
        Add-Names $Sift.Roles $Matches[1] $Sift.Encoding
        if ($Statement -cmatch "^ALTER DEFAULT PRIVILEGES FOR ROLE $Written ") {
            Add-Names $Sift.Owners $Matches[1] $Sift.Encoding
        }
    }
    $become = $Statement -creplace '^SET SESSION AUTHORIZATION ', 'SET ROLE '
    return $become -creplace '^RESET SESSION AUTHORIZATION', 'RESET ROLE'
}

function Test-Privileged([string]$Type, [string]$Statement) {
    if ($Type -cmatch $Privileged) { return $true }
    if ($Statement -cmatch '(?s)^CREATE PUBLICATION .* FOR (ALL TABLES|TABLES IN SCHEMA)') { return $true }
    if ($Statement -cmatch '(?s)^CREATE CAST .* WITHOUT FUNCTION') { return $true }
    if ($Type -cnotmatch '^(FUNCTION|PROCEDURE)$') { return $false }
    return $Statement -cmatch '(?s)^CREATE .*?\n    LANGUAGE (c|internal|pl\w+u)\b' -or
        $Statement -cmatch '^CREATE [^\n]*\n    LANGUAGE [^\n]* LEAKPROOF'
}

# A line that is no table's row.
function Read-SqlLine([hashtable]$Sift, [string]$Line) {
    if ($Sift.Text.Length -eq 0) {
        if ($Line -cmatch '^-- (?:Data for )?Name: (.*); Type: (.*?); Schema: .*?; Owner: ') {
            $Sift.Type = $Matches[2]
            $Sift.Entry = "$($Matches[2].ToLowerInvariant()) $($Sift.Encoding.GetString($Latin.GetBytes($Matches[1])))"
        }
        # pg_dump's own word would end ours.
        if (-not $Sift.Word -and $Line -cmatch '^\\restrict ([A-Za-z0-9]+)$') {
            $Sift.Word = "\unrestrict $($Matches[1])"
            return
        }
        if ($Sift.Word -and $Line -ceq $Sift.Word) { return }
        if ($Line -eq '' -or $Line.StartsWith('--')) {
            $Sift.Writer.Write("$Line`n")
            return
        }
    }
    $null = $Sift.Text.Append($Line).Append("`n")
    if ($Sift.Open -ne '' -or $Line.IndexOfAny($Marks) -ge 0) { $Sift.Open = Read-Line $Line $Sift.Open }
    if ($Sift.Open -eq '' -and $Line -cmatch ';\s*$') { Complete-Statement $Sift }
}

function Complete-Statement([hashtable]$Sift) {
    $statement = $Sift.Text.ToString()
    $null = $Sift.Text.Clear()
    $Sift.Writer.Write((Select-Statement $Sift $statement))
    $Sift.Rows = $statement -cmatch '(?s)^COPY .* FROM stdin;\s*$'
    $Sift.Statement = $statement
}

# A line ends with \n alone: a function that was written on Windows has \r\n, and keeps them.
function Read-Lines([hashtable]$Sift, [IO.StreamReader]$Reader) {
    $block = [char[]]::new(1mb)
    $begun = New-Object Text.StringBuilder
    $isRest = $false
    while (($got = $Reader.Read($block, 0, $block.Length)) -gt 0) {
        # psql passes over what follows one in its line, the line's end too, and says nothing.
        if ([Array]::IndexOf($block, [char]0, 0, $got) -ge 0) { Stop-Run "the dump is damaged: it holds a byte of zero" }
        if ([Array]::IndexOf($block, [char]10, 0, $got) -lt 0) {
            # A row may have a gigabyte: of a long one no more is kept than tells it from the rows' end.
            if ($Sift.Rows -and $begun.Length -gt 1mb) {
                $Sift.Writer.Write($begun.ToString())
                $null = $begun.Clear()
                $isRest = $true
            }
            $null = $begun.Append($block, 0, $got)
            continue
        }
        $lines = $begun.Append($block, 0, $got).ToString().Split([char]10)
        $null = $begun.Clear().Append($lines[-1])
        for ($i = 0; $i -lt $lines.Length - 1; $i++) {
            if ($Sift.Rows) {
                $Sift.Writer.Write($lines[$i] + "`n")
                if ($lines[$i] -ceq '\.' -and -not $isRest) { $Sift.Rows = $false }
                $isRest = $false
            } else {
                Read-SqlLine $Sift $lines[$i]
            }
        }
    }
    if ($begun.Length) { Read-SqlLine $Sift $begun.ToString() }
    $Sift.Writer.Write($Sift.Text.ToString())
}

# What is known of a dump at a line of it; `Rows` while its lines are a table's.
function New-Sift([bool]$NoOwner, [string[]]$Foreign) {
    return @{
        Text = New-Object Text.StringBuilder; Open = ''; Rows = $false; Statement = ''; Type = ''; Entry = ''; Word = ''
        Encoding = $Utf8; Writer = [IO.StreamWriter]::Null
        NoOwner = $NoOwner; Foreign = $Foreign; Owners = New-Counts; Roles = New-Counts; Extensions = New-Counts; Superuser = New-Counts
    }
}

# The dump with our own \restrict around it, and what it needs: names of owners, of roles that are granted something, of
# extensions, and what a superuser alone can load. `Foreign`: extensions of the target that are another's.
function Copy-Restricted([string]$From, [string]$To, [bool]$NoOwner, [string[]]$Foreign) {
    $word = [Guid]::NewGuid().ToString('N')
    $sift = New-Sift $NoOwner $Foreign
    $reader = New-Object IO.StreamReader $From, $Latin, $false
    $sift.Writer = New-Object IO.StreamWriter $To, $false, $Latin
    try {
        # What the database's own settings say is for the app.
        $sift.Writer.Write("\restrict $word`nSET default_transaction_read_only = off; ")
        Read-Lines $sift $reader
        $sift.Writer.Write("`n\unrestrict $word`n")
    } finally {
        $sift.Writer.Dispose()
        $reader.Dispose()
    }
    return $sift
}
