# What a vault holds, as metrics in Prometheus' text format: the lines of `vault.sh --report`, one for each database of
# a backup host, and one for each backup host. A database's name is that host's, who may be anybody by now.

def quoted: gsub("[[:cntrl:]]"; " ") | tojson;

def line($name; $labels; $value):
  ($labels | to_entries | map("\(.key)=\(.value | quoted)") | join(",")) as $told
  | "\($name){app=\($app | quoted),\($told)} \($value)";

def metric($name; $help; lines):
  [lines] | select(length > 0) | "# HELP \($name) \($help)", "# TYPE \($name) gauge", .[];

# Two series of the same labels Prometheus refuses, with all the others: copies of one database may have two names, such
# as of one that has become the app's own.
[inputs] as $read
| ($read | to_entries | group_by(.value | [.host, .database, .source]) | map(max_by(.value.proven_at // 0))
    | sort_by(.key) | map(.value)) as $all
| metric("vault_newest_proven_timestamp_seconds"; "When the newest copy came that restores and lacks nothing.";
    $all[] | select(.database and .proven_at)
    | line("vault_newest_proven_timestamp_seconds"; { source: .host, database }; .proven_at)),
  metric("vault_newest_suspect"; "1 where the newest copy that restores lacks what was there before.";
    $all[] | select(.database)
    | line("vault_newest_suspect"; { source: .host, database }; if .suspect == "" then 0 else 1 end)),
  metric("vault_reached_timestamp_seconds"; "When the backup host was last reached.";
    $all[] | select(.reached) | line("vault_reached_timestamp_seconds"; { source }; .reached)),
  metric("vault_alarms"; "How much the last run has found wrong at a backup host.";
    $all[] | select(.alarms) | line("vault_alarms"; { source }; .alarms))
