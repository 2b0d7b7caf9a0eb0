# needs: ab setpriv seq
# Threads that serve files and listings, rewritten and compressed; processes give up after 500 connections, and others follow.
server=$(PATH=$PATH:/usr/sbin command -v apache2)
modules=/usr/lib/apache2/modules
port=$(free_port)
mkdir -p www/many
seq -f 'line %g of a page' 3000 >www/page.html
for i in {1..300}; do echo "$i" >"www/many/file-$i.txt"; done
{
    for name in mpm_event authz_core mime dir autoindex deflate filter alias rewrite headers substitute; do
        echo "LoadModule ${name}_module $modules/mod_$name.so"
    done
    cat <<END
ServerName localhost
ServerRoot $PWD
Listen 127.0.0.1:$port
DocumentRoot $PWD/www
PidFile $PWD/pid
ErrorLog $PWD/error.log
DefaultRuntimeDir $PWD
TypesConfig /dev/null
AddType text/html .html
StartServers 2
ThreadsPerChild 8
MaxRequestWorkers 32
MaxConnectionsPerChild 500
MaxSpareThreads 24
IndexOptions FancyIndexing SuppressLastModified
AddOutputFilterByType DEFLATE text/html
RewriteEngine on
RewriteRule ^/old/(.*)\$ /\$1 [PT]
<Directory $PWD/www>
Options Indexes
</Directory>
Alias /changed $PWD/www
<Location /changed>
SetOutputFilter SUBSTITUTE
Substitute "s/line ([0-9]+)/row \$1/"
</Location>
END
} >apache.conf

get() {         # path [header of the request]
    "$PYTHON" - "http://127.0.0.1:$port$1" "${2:-Accept: */*}" <<'END'
import sys, urllib.request, zlib
name, value = sys.argv[2].split(": ")
with urllib.request.urlopen(urllib.request.Request(sys.argv[1], headers={name: value})) as answer:
    body = answer.read()
print(answer.status, answer.headers["Content-Encoding"], len(body), zlib.crc32(body))
END
}
load() {        # ab's further arguments. Stock or not, a process that gives up drops a connection now and then: then once more
    for _ in 1 2 3; do
        ab -q -c 8 "$@" >ab.txt || true
        ! grep -q '^Failed requests: *0$' ab.txt || break
    done
    grep -E '^(Complete|Failed|Non-2xx)' ab.txt
}
serve unprivileged "$server" -f "$PWD/apache.conf" -D FOREGROUND
await get /
mapped $pid
for path in /page.html /old/page.html /changed/page.html; do
    get $path
    load -k -n 800 "http://127.0.0.1:$port$path"
done
get /page.html 'Accept-Encoding: gzip'
load -n 2000 "http://127.0.0.1:$port/many/file-7.txt"
load -k -n 500 -H 'Accept-Encoding: gzip' "http://127.0.0.1:$port/page.html"
load -k -n 300 "http://127.0.0.1:$port/many/"
get /many/
kill $pid
wait $pid && echo "the server ended with $?"
! grep -E 'exit signal|lowtide:' error.log
