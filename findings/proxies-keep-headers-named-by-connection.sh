#!/usr/bin/env bash
# nginx and HAProxy pass on headers that a request's Connection header names, and HAProxy passes the names on too.
#
# RFC 9110, section 7.6.1: an intermediary removes the header fields that Connection names before it forwards a message.
# A good guess is that a reverse proxy does so. Neither does. HAProxy takes `close` and `keep-alive` out of the client's
# Connection header and forwards the rest of it, also beside a header that its own `http-request set-header` has set; so the
# server behind it is told to drop the header that the proxy vouches for. nginx replaces Connection unless the common line
# `proxy_set_header Connection $http_connection` hands it through. `proxy_set_header Connection ""`, the map of `$http_upgrade`
# and HAProxy's `del-header Connection` hand nothing of it through.
#
# Seen with nginx 1.22.1-9 and HAProxy 2.6.12-1 of Debian 12. Needs apt-get, dpkg-deb and Python 3. Exits with 1 if the
# behaviour is another one.
set -euo pipefail
dir=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$dir"' EXIT
cd "$dir"
packages=("nginx=1.22.1-9*" "haproxy=2.6.12-1*" liblua5.3-0 libopentracing-c-wrapper0 libopentracing1)
apt-get download -qq "${packages[@]}" >/dev/null 2>&1 || { apt-get update -qq && apt-get download -qq "${packages[@]}" >/dev/null; }
for package in ./*.deb; do dpkg-deb -x "$package" root; done
# The directories of libraries are named after the architecture.
LD_LIBRARY_PATH=$(find "$dir/root/usr/lib" -name '*.so.*' -printf '%h\n' | sort -u | paste -sd :)
export LD_LIBRARY_PATH
nginx=$dir/root/usr/sbin/nginx haproxy=$dir/root/usr/sbin/haproxy
"$nginx" -v 2>&1
# Not `head`, which closes the pipe: the next write to it would end this script.
"$haproxy" -v | sed -n 1p

cat > ports.py <<'PY'
import socket
found = [socket.socket() for _ in range(8)]
for one in found: one.bind(("127.0.0.1", 0))
print(*[one.getsockname()[1] for one in found])
PY
read -r upstream plain handed_through mapped cleaned haproxy_plain haproxy_set haproxy_cleaned < <(python3 ports.py)

# Answers with the head of the request that it got.
cat > upstream.py <<'PY'
import http.server, sys
class Echo(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = "".join(f"{name.lower()}: {value}\n" for name, value in self.headers.items()).encode()
        self.send_response(200); self.send_header("content-length", str(len(body))); self.end_headers(); self.wfile.write(body)
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Echo).serve_forever()
PY
python3 upstream.py "$upstream" &

cat > nginx.conf <<CONF
worker_processes 1; daemon off; pid $dir/nginx.pid; error_log $dir/nginx.log;
events { worker_connections 64; }
http {
    access_log off; client_body_temp_path $dir/b; proxy_temp_path $dir/p; fastcgi_temp_path $dir/f; uwsgi_temp_path $dir/u; scgi_temp_path $dir/s;
    map \$http_upgrade \$connection_upgrade { default upgrade; '' close; }
    server { listen 127.0.0.1:$plain; location / { proxy_pass http://127.0.0.1:$upstream; proxy_set_header X-User ann; } }
    server { listen 127.0.0.1:$handed_through; location / { proxy_pass http://127.0.0.1:$upstream; proxy_http_version 1.1; proxy_set_header Connection \$http_connection; proxy_set_header X-User ann; } }
    server { listen 127.0.0.1:$mapped; location / { proxy_pass http://127.0.0.1:$upstream; proxy_http_version 1.1; proxy_set_header Upgrade \$http_upgrade; proxy_set_header Connection \$connection_upgrade; proxy_set_header X-User ann; } }
    server { listen 127.0.0.1:$cleaned; location / { proxy_pass http://127.0.0.1:$upstream; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header X-User ann; } }
}
CONF
"$nginx" -p "$dir" -e "$dir/nginx.log" -c "$dir/nginx.conf" &

cat > haproxy.cfg <<CONF
defaults
    mode http
    timeout connect 2s
    timeout client 5s
    timeout server 5s
frontend plain
    bind 127.0.0.1:$haproxy_plain
    default_backend up
frontend set
    bind 127.0.0.1:$haproxy_set
    http-request set-header X-User ann
    default_backend up
frontend cleaned
    bind 127.0.0.1:$haproxy_cleaned
    http-request del-header Connection
    http-request set-header X-User ann
    default_backend up
backend up
    server a 127.0.0.1:$upstream
CONF
"$haproxy" -f haproxy.cfg &

cat > ask.py <<'PY'
import http.client, sys, time
def ask(port):
    for attempt in range(100):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.putrequest("GET", "/", skip_accept_encoding=True)
            for name, value in (("Connection", "close, X-User, X-Hop"), ("X-Hop", "1"), ("X-User", "client")): connection.putheader(name, value)
            connection.endheaders()
            response = connection.getresponse()
            text = response.read().decode()
            if response.status == 200: return dict(line.split(": ", 1) for line in text.splitlines())
        except ConnectionRefusedError: pass
        time.sleep(0.1)
    sys.exit("no proxy answers, or no server behind it")
failed = False
for (name, connection, user), port in zip((
    ("nginx, default", "close", "ann"),
    ("nginx, Connection handed through", "close,X-User,X-Hop", "ann"),
    ("nginx, Connection by the map", "close", "ann"),
    ("nginx, Connection cleared", None, "ann"),
    ("HAProxy, default", "X-User,X-Hop", "client"),
    ("HAProxy, set-header", "X-User,X-Hop", "ann"),
    ("HAProxy, del-header Connection", None, "ann"),
), map(int, sys.argv[1:])):
    got = ask(port)
    shown = {key: got.get(key) for key in ("connection", "x-user", "x-hop")}
    shown["connection"] = shown["connection"] and shown["connection"].replace(", ", ",")
    print(f"{name}: {shown}")
    failed |= shown != {"connection": connection, "x-user": user, "x-hop": "1"}
sys.exit("the behaviour is another one" if failed else 0)
PY
python3 ask.py "$plain" "$handed_through" "$mapped" "$cleaned" "$haproxy_plain" "$haproxy_set" "$haproxy_cleaned"
