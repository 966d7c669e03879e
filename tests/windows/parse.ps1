# What PowerShell's own parser sees in scripts: `pwsh -File parse.ps1 LIST`, LIST a file that names one a line.
# One JSON object a line on standard output, in their order.

param([string]$List)
$ErrorActionPreference = 'Stop'

function Get-FullName($Name) {
    $type = $Name.GetReflectionType()
    if ($type) { return $type.FullName }
    return $Name.FullName
}

function Find-All($Tree, [string]$Kind) {
    $type = [type]"System.Management.Automation.Language.$Kind"
    return @($Tree.FindAll({ param($node) $node.GetType() -eq $type }.GetNewClosure(), $true))
}

function Get-Report([string]$Path) {
    $tokens = $null
    $errors = $null
    $tree = [Management.Automation.Language.Parser]::ParseFile($Path, [ref]$tokens, [ref]$errors)
    $new = 'AndAnd', 'OrOr', 'QuestionQuestion', 'QuestionQuestionEquals', 'QuestionDot', 'QuestionLBracket', 'QuestionMark'
    return @{
        errors = @($errors | ForEach-Object { @{ line = $_.Extent.StartLineNumber; text = $_.Message } })
        newer = @($tokens | Where-Object { "$($_.Kind)" -in $new } | ForEach-Object {
            @{ line = $_.Extent.StartLineNumber; text = $_.Text }
        })
        functions = @(Find-All $tree 'FunctionDefinitionAst' | ForEach-Object { $_.Name })
        commands = @(Find-All $tree 'CommandAst' | ForEach-Object {
            $after = $_
            while ($after.Parent -and $after.Parent -isnot [Management.Automation.Language.NamedBlockAst] -and
                $after.Parent -isnot [Management.Automation.Language.StatementBlockAst]) { $after = $after.Parent }
            $statements = @(if ($after.Parent) { $after.Parent.Statements })
            $place = [array]::IndexOf($statements, $after)
            @{
                line = $_.Extent.StartLineNumber
                name = $_.GetCommandName()
                operator = "$($_.InvocationOperator)"
                target = $_.CommandElements[0].Extent.Text
                parameters = @($_.CommandElements | Where-Object {
                    $_ -is [Management.Automation.Language.CommandParameterAst] } | ForEach-Object { $_.ParameterName })
                arguments = @($_.CommandElements | Select-Object -Skip 1 | ForEach-Object { $_.Extent.Text })
                merges = [bool]@($_.Redirections | Where-Object {
                    $_ -is [Management.Automation.Language.MergingRedirectionAst] }).Count
                next = if ($place -ge 0 -and $place + 1 -lt $statements.Count) { $statements[$place + 1].Extent.Text } else { '' }
            }
        })
        calls = @(Find-All $tree 'InvokeMemberExpressionAst' | ForEach-Object {
            @{
                line = $_.Extent.StartLineNumber
                type = if ($_.Expression -is [Management.Automation.Language.TypeExpressionAst]) { Get-FullName $_.Expression.TypeName }
                member = $_.Member.Extent.Text
                count = @($_.Arguments | Where-Object { $_ }).Count
                static = $_.Static
                formats = [bool]@($_.Arguments | Where-Object {
                    $_ -is [Management.Automation.Language.BinaryExpressionAst] -and "$($_.Operator)" -eq 'Format' }).Count
            }
        })
        properties = @(Find-All $tree 'MemberExpressionAst' | Where-Object { $_.Static } | ForEach-Object {
            if ($_.Expression -is [Management.Automation.Language.TypeExpressionAst]) {
                @{ line = $_.Extent.StartLineNumber; type = Get-FullName $_.Expression.TypeName; member = $_.Member.Extent.Text }
            }
        })
        drives = @(Find-All $tree 'VariableExpressionAst' | Where-Object {
            $_.VariablePath.IsDriveQualified -and $_.VariablePath.DriveName -ne 'env' } | ForEach-Object {
            @{ line = $_.Extent.StartLineNumber; text = $_.Extent.Text }
        })
        quotes = @($tokens | Where-Object {
            "$($_.Kind)" -ne 'Comment' -and $_.Text -match "^[\u2018-\u201e]" } | ForEach-Object { $_.Extent.StartLineNumber })
    }
}

foreach ($path in [IO.File]::ReadAllLines($List)) {
    [Console]::Out.WriteLine((ConvertTo-Json -InputObject (Get-Report $path) -Depth 6 -Compress))
}
