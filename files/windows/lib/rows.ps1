# A part of the backup scripts. Managed by the project that deploys this host.
# --- Rows: how many of each table a dump has ------------------------------------------------------------
#
# Counted in the dump, which is what would come back. Its SQL is read line by line; of rows, which are many, .NET counts
# the ends.

$MostTables = 5000  # a manifest is read by every run

$Copied = '(?s)^COPY ((?:"(?:[^"]|"")+"|[^\s".]+)\.(?:"(?:[^"]|"")+"|[^\s"(]+)) '

# The rows of each table, by its name with its schema as PostgreSQL quotes it.
function Read-RowCounts([string]$Path) {
    $counts = New-Counts
    $sift = New-Sift $false @()
    $reader = New-Object IO.StreamReader $Path, $Latin, $false
    try {
        $block = [char[]]::new(1mb)
        $begun = New-Object Text.StringBuilder
        while (($got = $reader.Read($block, 0, $block.Length)) -gt 0) {
            $last = [Array]::LastIndexOf($block, [char]10, $got - 1, $got)
            $null = $begun.Append($block, 0, $last + 1)
            if ($last -ge 0) {
                Read-RowLines $sift $begun.ToString() $counts
                $null = $begun.Clear()
            }
            $null = $begun.Append($block, $last + 1, $got - $last - 1)
            # A row may have a gigabyte: of a long one no more is kept than tells it from the rows' end.
            if ($sift.Rows -and $begun.Length -gt 1mb) { $begun.Length = 16 }
        }
    } finally {
        $reader.Dispose()
    }
    return $counts
}

# Lines that are whole, each with its end.
function Read-RowLines([hashtable]$Sift, [string]$Lines, $Counts) {
    $at = 0
    while ($at -lt $Lines.Length) {
        if (-not $Sift.Rows) {
            $end = $Lines.IndexOf([char]10, $at)
            Read-SqlLine $Sift $Lines.Substring($at, $end - $at)
            if ($Sift.Rows) { $Sift.Table = Add-Table $Sift $Counts }
            $at = $end + 1
            continue
        }
        $end = $at
        if ([string]::CompareOrdinal($Lines, $at, "\.`n", 0, 3) -ne 0) {
            $before = $Lines.IndexOf("`n\.`n", $at, [StringComparison]::Ordinal)
            $end = if ($before -lt 0) { $Lines.Length } else { $before + 1 }
        }
        if ($Sift.Table) { $Counts[$Sift.Table] += $Lines.Substring($at, $end - $at).Split([char]10).Length - 1 }
        $Sift.Rows = $end -eq $Lines.Length
        $at = $end + 3
    }
}

# The table whose rows begin, noted with none.
function Add-Table([hashtable]$Sift, $Counts) {
    if ($Sift.Statement -cnotmatch $Copied) { return $null }
    $name = $Sift.Encoding.GetString($Latin.GetBytes($Matches[1]))
    $Counts[$name] = 0
    return $name
}
