# PURPOSE: a bash script with a fixed output that forks some hundred times.
declare -A map
for ((i = 0; i < 12000; i++)); do map[k$((i * 7 % 12007))]="v$i"; done
echo "${#map[@]} ${map[k7]}"
list=()
for ((i = 0; i < 6000; i++)); do list+=("item $i"); done
joined=${list[*]}
echo "${#joined} ${joined//item/x}" | cksum
echo "${list[@]:5990:3} ${#list[@]}"
s=abc
for ((i = 0; i < 10; i++)); do s+=$s; done
echo "${#s} ${s:1000:7} ${s//b}" | cksum
total=0
for ((i = 0; i < 150; i++)); do
    v=$(echo "$i" | { read -r x; echo $((x * 2)); })
    total=$((total + v))
done
echo "total $total"
fib() { (($1 < 2)) && echo "$1" || echo $(($(fib $(($1 - 1))) + $(fib $(($1 - 2))))); }
fib 9
for ((i = 0; i < 40; i++)); do (exit $((i % 7))) & pids[i]=$!; done
for ((i = 0; i < 40; i++)); do
    wait "${pids[i]}"
    codes+=$?
done
echo "$codes"
while read -r line; do last=$line; done < <(seq 3000)
echo "$last"
trap 'echo trapped' USR1
kill -USR1 $$
[[ "key=value; other=thing" =~ ([a-z]+)=([a-z]+)\;\ (.*) ]] && echo "${BASH_REMATCH[@]:1}"
mapfile -t lines < <(seq 2000)
printf '%s\n' "${lines[@]}" | sort -rn | head -n 2
coproc cat
echo through >&"${COPROC[1]}"
read -r -u "${COPROC[0]}" echoed
echo "$echoed"
eval "exec ${COPROC[1]}>&-"
wait
exit 3
