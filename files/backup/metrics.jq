# What the backups say of themselves, as metrics in Prometheus' text format: lines of `told` in write-metrics.sh.
# A text that is damaged, or somebody else's, is passed over: what it should say is then missing, which alerts.

def quoted: tostring | gsub("[[:cntrl:]]"; " ") | tojson;   # JSON's \\ and \" are the format's own

def seconds: try fromdateiso8601 catch null;

def number: if type == "number" then . else null end;

def metric($name; $help; $labels; $value):
  if $value == null then empty
  else { name: $name, help: $help, line: ($labels | to_entries | map("\(.key)=\(.value | quoted)") | join(",")), value: $value }
  end;

def of_manifest($app):
  .of as $m | { app: $app, database: $m.database, tier: .tier } as $labels
  | metric("backup_newest_timestamp_seconds"; "When the newest good dump was begun."; $labels; $m.started | seconds),
    metric("backup_newest_bytes"; "The size of the newest good dump."; $labels; $m.bytes | number),
    metric("backup_newest_database_bytes"; "The size of the database that it was made of."; $labels; $m.database_bytes | number),
    metric("backup_newest_duration_seconds"; "How long the newest good dump took."; $labels; $m.seconds | number),
    metric("backup_newest_suspect"; "1 where the newest dump has lost what the one before it had."; $labels;
      if $m.suspect and (.accepted | not) then 1 else 0 end);

def of_status($app):
  .of as $s | { app: $app, database: $s.database, tier: $s.tier } as $labels
  | metric("backup_last_run_timestamp_seconds"; "When the last run was begun."; $labels; $s.started | seconds),
    metric("backup_last_run_failed"; "1 where the last run failed."; $labels; if $s.state == "failed" then 1 else 0 end),
    metric("backup_running"; "1 while a run is at work, or was cut off."; $labels; if $s.state == "running" then 1 else 0 end);

def of_restore_test($app):
  .of as $t | { app: $app, database: $t.database } as $labels
  | metric("backup_restore_test_timestamp_seconds"; "When a dump was last restored as a test."; $labels; $t.tested | seconds),
    metric("backup_restore_test_failed"; "1 where the last restore test failed."; $labels;
      if $t.verdict == "ok" then 0 else 1 end);

[ inputs | split("\t")
  | { kind: .[0] | sub("accepted"; "manifest"), accepted: (.[0] == "accepted"), tier: .[1],
      of: (.[2] // "" | try fromjson catch null) }
  | .of |= if type == "object" then del(.content, .needs, .sequences_before, .sequences_after) else . end
  | select((.of | type) == "object" and (.of.database | type) == "string") ]
| group_by([.kind, .tier, .of.database, .of.tier])
| [ .[] | { kind: .[0].kind, kept: length, newest: max_by(.of.started // .of.tested // "" | tostring) } ]
| [ .[] | .kept as $kept | .newest as $n
    | if .kind == "manifest" then
        ($n | of_manifest($app)),
        metric("backup_kept"; "How many dumps a tier holds."; { app: $app, database: $n.of.database, tier: $n.tier }; $kept)
      elif .kind == "status" then $n | of_status($app)
      else $n | of_restore_test($app) end ]
| group_by(.name)[]
| "# HELP \(.[0].name) \(.[0].help)", "# TYPE \(.[0].name) gauge", (.[] | "\(.name){\(.line)} \(.value)")
