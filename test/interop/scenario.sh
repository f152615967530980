# One scenario with curl: create, produce, lease, complete, retry, errors.
set -eu
base=$1
call() { curl -s -X POST -H 'Content-Type: application/json' "$base/v1/$1" -d "$2"; }
expect() { [ "$1" = "$2" ] || { echo "expected $2, got $1"; exit 1; }; }
lease() { call queue.lease '{"queue_name":"interop","client_id":"sh","batch_size":1,"request_timeout":"5s"}'; }
id_of() { printf '%s' "$1" | sed 's/.*"id":"\([0-9A-Za-z]*\)".*/\1/'; }

expect "$(call queues.create '{"queue_name":"interop","lease_timeout":"1m","expire_timeout":"24h","requested_partitions":1}')" '{"code":200}'
expect "$(call queue.produce '{"queue_name":"interop","request_timeout":"5s","items":[{"utf8":"text","kind":"a"}]}')" '{"code":200}'
reply=$(lease)
case "$reply" in *'"kind":"a"'*'"attempts":1'*'"bytes":"dGV4dA=="'*) ;; *) expect "$reply" 'a lease of "text"' ;; esac
expect "$(call queue.retry "{\"queue_name\":\"interop\",\"items\":[{\"id\":\"$(id_of "$reply")\"}]}")" '{"code":200}'
reply=$(lease)
case "$reply" in *'"attempts":2'*) ;; *) expect "$reply" 'a second lease' ;; esac
id=$(id_of "$reply")
complete="{\"queue_name\":\"interop\",\"request_timeout\":\"5s\",\"ids\":[\"$id\"]}"
expect "$(call queue.complete "$complete")" '{"code":200}'
case "$(call queue.complete "$complete")" in
  *"invalid storage id; '$id' does not exist"*) ;;
  *) expect 'no error' 'an error' ;;
esac
expect "$(curl -s -o /dev/null -w '%{http_code}' -X POST -H 'Content-Type: application/json' "$base/v1/queue.stats" -d '{"queue_name":"nowhere"}')" 400

# The same under /v2, with JSON that comes back as it was written.
call() { curl -s -X POST -H 'Content-Type: application/json' "$base/v2/$1" -d "$2"; }
lease() { call queue.lease '{"queue_name":"interop2","request_timeout":"5s"}'; }
lease_of() { printf '%s' "$1" | sed 's/.*"lease_id":"\([0-9A-Za-z]*\)".*/\1/'; }
leases_of() { printf '{"queue_name":"interop2","leases":[{"lease_id":"%s"}]}' "$(lease_of "$1")"; }

case "$(call queues.create '{"queue_name":"interop2"}')" in
  *'"queue_name":"interop2"'*) ;;
  *) expect 'no queue' 'a queue' ;;
esac
case "$(call queue.produce '{"queue_name":"interop2","items":[{"json":{"a": 1.0},"headers":{"h":"v"}}]}')" in
  *'"status":"created"'*) ;;
  *) expect 'no item' 'an item' ;;
esac
reply=$(lease)
case "$reply" in *'"headers":{"h":"v"}'*'"attempts":1'*'"json":{"a": 1.0}'*) ;; *) expect "$reply" 'a lease of JSON' ;; esac
expect "$(call queue.retry "$(leases_of "$reply")")" '{"results":[{"ok":true}]}'
reply=$(lease)
case "$reply" in *'"attempts":2'*) ;; *) expect "$reply" 'a second lease' ;; esac
expect "$(call queue.complete "$(leases_of "$reply")")" '{"results":[{"ok":true}]}'
case "$(call queue.complete "$(leases_of "$reply")")" in
  *'"code":"lease_ended"'*'"failed":1'*) ;;
  *) expect 'no error' 'an error' ;;
esac
expect "$(call queue.lease '{"queue_name":"interop2","request_timeout":"10ms"}')" '{"items":[]}'
expect "$(curl -s -o /dev/null -w '%{http_code} %{content_type}' -X POST -H 'Content-Type: application/json' "$base/v2/queue.stats" -d '{"queue_name":"nowhere"}')" '404 application/problem+json'
echo ok
