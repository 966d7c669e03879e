# shellcheck shell=bash
# A part of the backup scripts. Managed by the project that deploys this host.
# --- The manifest beside each dump ----------------------------------------------------------------------

write_manifest() { # FINAL
    local globals=''
    if [[ -e $1.globals.gz.part ]]; then globals=${1##*/}.globals.gz; fi
    # It is published as a part of the dump, under that name.
    write_json "$1.json" "$(json_line dump "${1##*/}")" "$(json_line database "$database")" \
        "$(json_line tier "$tier")" "$(json_line format "$backup_format")" \
        "$(json_line started "$began_utc")" "$(json_line ended "$(utc_now)")" \
        "\"seconds\": $(( SECONDS - began ))" "\"bytes\": $dump_bytes" \
        "$(json_line sha256 "$sum")" "$(json_line globals "$globals")" \
        "$(json_line server_version "$server_version")" "$(json_line client_version "$client_version")" \
        "\"database_bytes\": $database_bytes" "\"sequences_before\": $sequences_before" \
        "\"sequences_after\": $sequences_after" "\"content\": $content" ||
        die "cannot write $1.json: make room on its disk"
    mv "$1.json" "$1.json.part"
}

# Half of the usual size may be right after a clean-up, and may be a table that was lost.
compare_size() {
    local median path
    median=$(
        while read -r path; do
            printf '%s\n' "$(json_value "$path.json" bytes)"
        done < <(all_dumps "$prefix" | sed -n 1,7p) | sort --numeric-sort |
            awk '$1 > 0 { sizes[++n] = $1 } END { print sizes[int((n + 1) / 2)] }'
    )
    [[ -n $median ]] || return 0
    local change=$(( (dump_bytes - median) * 100 / (median > 0 ? median : 1) ))
    if (( change > backup_size_change_percent || change < -backup_size_change_percent )); then
        warn "the dump has $(human_size "$dump_bytes"), the median of the last ones $(human_size "$median") \
($change %): see whether that is right"
    fi
}
