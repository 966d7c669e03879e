# shellcheck shell=bash
# A part of the backup scripts, and of the vault's. Managed by the project that deploys this host.
# --- What counts as lost, beside the contents of an earlier dump ------------------------------------------

# A few rows come and go; a table of at least so many does not fall by half overnight without a reason.
# shellcheck disable=SC2034  # they are read by who compares
readonly few_rows=100

# One name a line, as the manifest writes them: with a schema. What is left out on purpose stands there, too.
volatile_ones() {
    local name
    for name in "${backup_volatile_tables[@]}"; do printf '%s\n' "$name" "public.$name"; done
}

# shellcheck disable=SC2016,SC2034  # jq's own names; read by who compares, a backup and a vault
readonly losses_program='
    .content as $was | $now[0] as $is | (($explained | split("\n")) + ($is.left_out // [])) as $volatile
    | ($was.tables // {} | keys - $volatile) as $had
    | if ($had | length) > 0 and ($is.objects | length) > 0
         and ([$is.objects | keys[] | select(test("^(partitioned )?table "))] == [])
      then "no table is left of \($had | length); "
      else
        ($was.tables // {} | to_entries[] | select(.key as $k | $volatile | index($k) | not) | . as $t
          | ($is.tables[.key]) as $rows
          | if ($is.objects | has("table \($t.key)") | not) and ($is.objects | length) > 0
            then if $t.value > 0 then "the table \($t.key) is gone, it had \($t.value) rows; " else empty end
            elif $rows != null and $t.value >= $few and ($t.value - $rows) * 100 > $t.value * $percent
            then "the table \($t.key) has \($rows) rows, it had \($t.value); "
            else empty end)
      end'

# What fits into an argument and a line, however many tables are gone.
# shellcheck disable=SC2034  # read by who compares, a backup and a vault
readonly first_losses_program="[$losses_program]"'
    | if length > 20 then .[:20] + ["and \(length - 20) more; "] else . end | .[]'
