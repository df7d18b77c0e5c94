#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# The Spin models in selftests/model/: each of them holds, with all states searched,
# and fails with each of its mutations, by the assertion that it should fail by.
# Nothing that a model says is dead: some configuration reaches each line.
set -u

top=${SCATTO_TOP:-$(cd "$(dirname "$0")/../.." && pwd)}
models=$top/selftests/model
long=${SCATTO_LONG:-0}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

for need in spin gcc; do
	command -v $need >/dev/null || {
		echo "1..0 # SKIP there is no $need"
		exit 4
	}
done

cases=()

# holds MODEL SHORT LONG: with these sizes in the short form, those in the long one
holds() { cases+=("holds|$1|$2|$3"); }
# fails MODEL MUTATION FLAGS ASSERTION: what pan says of the one that is violated
fails() { cases+=("fails|$1|$2|$3|$4"); }

# What pan makes of the assertions
alive='owner[(s%2)]==254' # a tombstone for a slot that no dead one has claimed
undecided='from>=to'      # a candidate that is never decided
stuck='cursor==claimed'   # what was claimed is never read
short='s==claimed'        # the end is not behind the last claim

holds mpsc "-DLAST=3 -DSUCC=1 -DPARTIAL" "-DCAP=4 -DBMAX=3 -DLAST=5 -DSUCC=1"
holds mpsc "-DNP=3 -DLAST=2 -DSUCC=0 -DBMAX=1" "-DNP=3 -DLAST=3 -DSUCC=0 -DPARTIAL"
holds mpsc "-DLAST=2 -DSUCC=1 -DGRANTS" "-DLAST=3 -DSUCC=1 -DGRANTS -DPARTIAL"
holds mpsc "-DUSERS=1 -DLAST=3 -DSUCC=0 -DSHARED" "-DUSERS=1 -DLAST=3 -DSUCC=1 -DSHARED"
holds mpsc "-DLAST=3 -DSUCC=1 -DBMAX=1 -DFORGE -DPAUSE" "-DLAST=4 -DSUCC=1 -DFORGE -DPAUSE"
fails mpsc INTENT_LATE "-DLAST=3" "$stuck"
fails mpsc NO_COVER "-DLAST=3" "$alive"
fails mpsc NO_C7 "-DLAST=3" "$undecided"
fails mpsc RELAXED "-DLAST=3" "$alive"
fails mpsc LOOK_FIRST "-DLAST=3" "$alive"
fails mpsc PASSED "-DLAST=3" "$alive"
fails mpsc CLAIMED_LATE "-DLAST=3" "$alive"
fails mpsc NO_CLAMP "-DLAST=3" "$alive"
fails mpsc D3_KEEP "-DLAST=3" "$undecided"
fails mpsc FREE_EARLY "-DLAST=3" "$stuck"
fails mpsc RUN_FIRST "-DLAST=3" "stamp[(cursor%2)]==((cursor/2)+1)"
fails mpsc UNSIGNED "-DLAST=3" "(claimed+n)>(cursor+2)"
fails mpsc GRANT_LATE "-DLAST=3 -DSUCC=0 -DGRANTS" "$short"
fails mpsc GRANT_KEEP "-DLAST=3 -DSUCC=1 -DGRANTS" "$undecided"
fails mpsc PER_CPU "-DUSERS=1 -DLAST=3 -DSUCC=0 -DBMAX=1 -DSHARED" "$alive"
fails mpsc END_CLAIMED "-DLAST=3 -DFORGE" "end_at==cursor"
fails mpsc KEEP_BEYOND "-DLAST=3 -DFORGE -DPAUSE" "stamp[((s+k)%2)]=="

sleeps='!(asleep[i])||' # somebody sleeps whose position was reached
unread='!(idle_poller)||' # a poller was not told

holds wait "-DLAST=2" "-DLAST=3"
holds wait "-DLAST=3 -DNS=1 -DDEATH" "-DNP=3 -DLAST=3 -DNS=1 -DDEATH"
holds wait "-DLAST=2 -DNS=1 -DPOLL" "-DLAST=3 -DNS=1 -DPOLL"
holds wait "-DLAST=2 -DNS=1 -DCLOSE" "-DLAST=3 -DNS=1 -DCLOSE"
holds wait "-DLAST=3 -DNS=1 -DFENCE -DDEATH" "-DLAST=3 -DFENCE"
fails wait NO_LOOK "-DLAST=3 -DNS=1" "$sleeps"
fails wait LOOK_FIRST "-DLAST=3 -DNS=1" "$sleeps"
fails wait NO_BARRIER "-DLAST=3 -DNS=1" "$sleeps"
fails wait WORD_FIRST "-DLAST=3 -DNS=1" "$sleeps"
fails wait NO_P4_FENCE "-DLAST=3 -DNS=1" "$sleeps"
fails wait OWN_SLOT "-DLAST=3 -DNS=1" "$sleeps"
fails wait LEAVER_DISARMS "-DLAST=2" "$sleeps"
fails wait DEATH_QUIET "-DLAST=3 -DNS=1 -DDEATH" "$sleeps"
fails wait BELIEVES "-DLAST=2 -DNS=1 -DPOLL" "$unread"
fails wait NO_BARRIER "-DLAST=2 -DNS=1 -DPOLL" "$unread"
fails wait CLOSE_NO_BARRIER "-DLAST=2 -DNS=1 -DCLOSE" "!(told[s])"
fails wait CLOSE_PASSED "-DLAST=3 -DNS=1 -DCLOSE" "!(told[s])"

waits='!((length&&((claimed+count[queue[0]])<=(cursor+3))))' # the first of the queue fits

holds queue "-DOVERTAKER -DLEAST" "-DNC=3 -DCAP=2 -DOVERTAKER -DLEAST"
for m in ARM_LATE NO_BARRIER NO_SERVE LEAVER_QUIET LEAVER_NO_ARM LEAVER_NO_BARRIER; do
	fails queue $m "" "$waits"
done
fails queue LEAST_QUIET "-DLEAST" "$waits"

enough='!(asleep)||' # the consumer sleeps and should not

holds threshold "" "-DCAP=4 -DLAST=6"
holds threshold "-DNP=1 -DM_ARM_WANT" "-DNP=1 -DCAP=4 -DLAST=8 -DM_ARM_WANT"
for m in NO_YIELD OTHER_QUIET ARM_WANT NO_LOWER COUNT_LATE; do
	fails threshold $m "" "$enough"
done

# pan NUMBER MODEL FLAGS LEVEL: builds it with -O LEVEL and runs it, in $dir/NUMBER.
# Level 2 is for large ones.
pan() {
	local flags

	read -ra flags <<<"$3"
	mkdir "$dir/$1" && cd "$dir/$1" &&
		spin "${flags[@]}" -a "$models/$2.pml" &&
		gcc -w -DSAFETY -DCOLLAPSE -DMEMLIM=4000 -O"$4" -o pan pan.c &&
		./pan -m$(($4 == 2 ? 1000000 : 20000)) -w$(($4 == 2 ? 26 : 22))
}

# What pan lists as unreached: proctype, state, line
statements() {
	awk '/^unreached in / { name = $NF }
		/^\t.*\.pml:[0-9]+, state / && !/"-end-"/ {
			line = $0; sub(/.*\.pml:/, "", line); sub(/,.*/, "", line)
			print name, $3, line
		}' | sort -u
}

# run NUMBER CASE: one line of the result, and comments before it
run() {
	local kind model a b c name began ms states why=''

	IFS='|' read -r kind model a b c <<<"$2"
	began=${EPOCHREALTIME/./}
	if [ "$kind" = holds ]; then
		[ "$long" = 0 ] || a=$b
		name="$model holds${a:+: $a}"
		pan "$1" "$model" "$a" "$((long ? 2 : 1))" >"$dir/$1.out" 2>&1
		grep -q 'errors: 0$' "$dir/$1.out" || why="it does not hold"
		! grep -qE 'max search depth too small|Search not completed|out of memory' "$dir/$1.out" ||
			why="not all states were searched"
	else
		name="$model fails with M_$a${b:+: $b}"
		pan "$1" "$model" "-DM_$a $b" 0 >"$dir/$1.out" 2>&1
		grep '^pan:1: assertion violated' "$dir/$1.out" | grep -qF -e "$c" || why="not by $c"
	fi
	ms=$(((${EPOCHREALTIME/./} - began) / 1000))
	states=$(awk '/ states, stored/ { states = $1 }
		match($0, /depth reached [0-9]+/) { depth = substr($0, RSTART + 14, RLENGTH - 14) }
		END { print states " states, depth " depth }' "$dir/$1.out")
	{
		if [ -n "$why" ]; then
			echo "not ok $name"
			echo "# $why"
			grep -vE '^$|^Depth=|^\(|unreached|\.pml:' "$dir/$1.out" | tail -20 | sed 's/^/# /'
		else
			[ "$kind" = fails ] || [ "$long" != 0 ] || [ "$a" = "$b" ] || echo "# reduced: $model $a of $b"
			echo "ok $name ($states, $((ms / 1000)).$((ms / 100 % 10)) s)"
		fi
	} >"$dir/$1.result"
	if [ "$kind" = holds ]; then
		# A search that stops at once has not reached anything.
		"$dir/$1/pan" -m2 -w10 | statements >"$dir/$1.all"
		statements <"$dir/$1.out" | comm -23 "$dir/$1.all" - | sed 's/.* //' >>"$dir/$model.reached"
		sed 's/.* //' "$dir/$1.all" >>"$dir/$model.lines"
	fi
	rm -rf "${dir:?}/$1"
	# In one piece, since another one may be writing, too.
	cat "$dir/$1.result"
}

names=$(printf '%s\n' "${cases[@]}" | cut -d'|' -f2 | sort -u)
echo "1..$((${#cases[@]} + $(echo "$names" | wc -w)))"
{
	for i in "${!cases[@]}"; do
		while [ "$(jobs -rp | wc -l)" -ge 2 ]; do
			wait -n
		done
		run "$i" "${cases[i]}" &
	done
	wait
	for model in $names; do
		dead=$(comm -23 <(sort -u "$dir/$model.lines") <(sort -u "$dir/$model.reached") | sort -n | paste -s -d' ')
		if [ -z "$dead" ]; then
			echo "ok $model: each line is reached"
		else
			echo "not ok $model: each line is reached"
			echo "# not these: $dead"
		fi
	done
} | {
	n=0 fails=0
	while IFS= read -r line; do
		case $line in
		'ok '*) n=$((n + 1)) line="ok $n ${line#ok }" ;;
		'not ok '*) n=$((n + 1)) fails=$((fails + 1)) line="not ok $n ${line#not ok }" ;;
		esac
		echo "$line"
	done
	[ $fails = 0 ]
}
