#!/usr/bin/env bash
# Has schemathesis try the gateway at GATEWAY_URL: run.sh SCHEMATHESIS EXAMPLES
set -euo pipefail
schemathesis=$1 examples=$2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# One job that has a result, so that not every answer is "no such job".
printf '\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2avc1mp41' >"$dir/video.mp4"
job=$(curl -fsS -H "Authorization: Bearer $GATEWAY_TOKEN" -F "video=@$dir/video.mp4" "$GATEWAY_URL/api/pose/video" | python3 -c 'import json, sys; print(json.load(sys.stdin)["id"])')
for _ in $(seq 100); do
	if curl -fsS -H "Authorization: Bearer $GATEWAY_TOKEN" "$GATEWAY_URL/api/pose/jobs/$job/results" >/dev/null 2>&1; then break; fi
	sleep 0.2
done

upload=$(curl -fsS -D - -o /dev/null -X POST -H "Authorization: Bearer $GATEWAY_TOKEN" -H "Tus-Resumable: 1.0.0" -H "Upload-Length: 1000000" "$GATEWAY_URL/api/pose/uploads" |
	sed -n 's#^[Ll]ocation: /api/pose/uploads/\([a-z2-7]*\).*#\1#p')

# Streams of events have no end: Go tests read them. Logins need a browser.
here=$(cd "$(dirname "$0")" && pwd)
cp "$here/hooks.py" "$dir"
sed "s/JOB/$job/; s/UPLOAD/$upload/" "$here/schemathesis.toml" >"$dir/schemathesis.toml"
cd "$dir"
SCHEMATHESIS_HOOKS=hooks PYTHONPATH=. PYTHONDONTWRITEBYTECODE=1 "$schemathesis" run "$GATEWAY_URL/openapi.json" --header "Authorization: Bearer $GATEWAY_TOKEN" \
	--exclude-path-regex '/events$|/login' --max-examples "$examples" --request-timeout 20 --phases coverage,fuzzing \
	--checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,response_headers_conformance,unsupported_method,ignored_auth \
	--continue-on-failure --no-color
