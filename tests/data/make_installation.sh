#!/usr/bin/env bash
# Makes the installation that an earlier Lemonade left: make_installation.sh CHECKOUT ARCHIVE
# CHECKOUT: that version's files, with its virtual environment in .venv. README.md says what is in the ARCHIVE.
set -euo pipefail

checkout=$(realpath "$1")
archive=$(realpath "$2")
home=$(mktemp -d /tmp/lemonade_XXXXXXXX)
cd "$home"
export PYTHONPATH="$checkout:$checkout/tests" SETTLE_SECONDS=0.3

lemonade() { "$checkout/.venv/bin/lemonade" "$@"; }
dies() { "$checkout/.venv/bin/python" "$checkout/tests/faults/$1" "${@:2}" || true; } # a process killed on its way
drop() { cat > ".$1" && mv ".$1" "data/incoming/$1"; }
event() { echo "{\"vehicle_id\": \"$1\", \"event_time\": \"2026-01-15T11:00:00Z\", \"event_type\": \"moved\", \"event_value\": $2, \"event_extra_data\": {\"n\": $2}}"; }
status() { echo "{\"vehicle_id\": \"$1\", \"report_time\": \"2026-01-15T11:00:00Z\", \"status\": \"ok\"}"; }

lemonade init
cat > orders.json <<'JSON'
{
  "file_type": "orders",
  "schema_definition": {
    "fields": [
      {"name": "id", "type": "long", "nullable": false},
      {"name": "count", "type": "int"},
      {"name": "price", "type": "decimal(6,2)"},
      {"name": "tags", "type": {"type": "list", "element": "string"}}
    ]
  }
}
JSON
lemonade types add --file orders.json

# loaded, with rejected records; a file in failed/, one in error/, one in held/; a duplicate
echo "{\"vehicles_events\": [$(event v1 1), $(event v2 2), {\"vehicle_id\": \"v3\"}, {\"vehicle_id\": 4, \"event_time\": \"2026-01-15T11:04:00Z\"}]}" |
    drop vehicles_events_20260115120001.json
echo "[$(event v5 5)]" | gzip -n | drop vehicle_events_20260115120002.json.gz
echo "[$(status s1), $(status s2)]" | drop vehicles_status_20260115120001.json
echo "[$(status s3)]" | drop vehicles_status_20260115120002.json
echo "[$(status s4)]" | drop vehicles_status_20260115120003.json
echo '[{"id": 1, "count": 1, "price": "1.50", "tags": ["a"]}, {"id": 2, "count": 2}, {"id": 3, "count": "3"},
    {"id": 4, "count": "four"}]' | drop orders_20260115120001.json
echo '[{"id": 5' | drop orders_20260115120002.json
echo '[{"id": "six"}]' | drop orders_20260115120003.json
echo '[{"id": 1}]' | drop invoices_20260115120001.json
lemonade flush || [ $? = 1 ] # two of them failed
echo "[$(status s1), $(status s2)]" | drop vehicles_status_20260115120001.json
lemonade flush
lemonade summarize

# undone; replayed through a schema that has changed twice; discarded
lemonade undo vehicles_status_20260115120002.json --yes
sed -i 's/"type": "int"/"type": "int", "coerce": true/; s/"fields": \[/&{"name": "note", "type": "string"},/' orders.json
lemonade types update orders --file orders.json --yes
lemonade quarantine replay --type orders
lemonade quarantine discard --type orders --yes
echo '[{"id": 7, "note": "new"}]' | drop orders_20260115120007.json
lemonade flush

# a batch and an undo that were prepared, and a file that nobody has claimed
echo "[$(event v7 7), {\"vehicle_id\": 8}]" | drop vehicle_events_20260115120007.json
dies dying.py prepare 1 in-process
dies operating.py undo prepare '{"target": "vehicles_status_20260115120003.json"}'
echo "[$(event v9 9)]" | drop vehicle_events_20260115120009.json

rm -r data/logs data/metadata.db.lock data/source_data/.lemonade.lock
for base in data/metadata.db data/catalog.db; do
    "$checkout/.venv/bin/python" -c "import sqlite3, sys; base = sqlite3.connect(sys.argv[1]); base.execute('PRAGMA journal_mode=DELETE'); base.execute('VACUUM')" $base
done
echo "$home" > data/made_in
tar --sort=name --owner=0 --group=0 --numeric-owner -cf - data | gzip -9n > "$archive"
rm -r "$home"
