# The shell has a malloc of its own in some builds, forks without end and grows strings byte by byte.
declare -A squares words
for ((i = 0; i < 30000; i++)); do squares[$i]=$((i * i)); done
echo "${#squares[@]} ${squares[29999]}"

text=
for ((i = 0; i < 3000; i++)); do text+="word$((i * 7919 % 101)) "; done
for word in $text; do words[$word]=$((${words[$word]-0} + 1)); done
for word in "${!words[@]}"; do echo "$word ${words[$word]}"; done | sort | cksum

mapfile -t lines < <(seq 1 50000)
echo "${#lines[@]} ${lines[-1]}"
replaced=${text//word/w}
echo "${#replaced}"
total=0
while read -r a b; do total=$((total + a * b)); done < <(paste <(seq 1 2000) <(seq 2000 -1 1))
echo "$total"
for i in {1..200}; do (exit $((i % 3))) || echo -n $?; done
echo
fib() { if (($1 < 2)); then echo "$1"; else echo $(($(fib $(($1 - 1))) + $(fib $(($1 - 2))))); fi; }
fib 9
