#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# scattoctl(1) as a user meets it: what it prints, its exit status, its advice.

n=0
fails=0

# check DESCRIPTION COMMAND...: one result
check() {
	what=$1
	shift
	n=$((n + 1))
	if "$@"; then
		echo "ok $n $what"
	else
		echo "not ok $n $what"
		sed 's/^/# out: /' out
		sed 's/^/# err: /' err
		fails=$((fails + 1))
	fi
}

# run STATUS COMMAND...: is that its exit status? Keeps what it prints.
run() {
	want=$1
	shift
	"$@" >out 2>err
	got=$?
	[ $got = "$want" ] || {
		echo "# $*: exit status $got, not $want"
		return 1
	}
}

# as USER COMMAND: the same, as somebody else
as() {
	want=$1
	user=$2
	shift 2
	run "$want" su "$user" -c "$*"
}

has() { grep -qF -e "$2" "$1"; }
same() { cmp "$1" "$2" >err 2>&1; }
# shellcheck disable=SC2086 # words of a command line
run_has() { run "$1" scattoctl $4 && has "$2" "$3"; }

# Waits until COMMAND succeeds.
until_true() {
	for _ in $(seq 100); do
		"$@" >/dev/null 2>&1 && return
		sleep 0.1
	done
	return 1
}

gone() { ! scattoctl show "$1"; }
grep_show() { scattoctl show "$1" | grep -qE "$2"; }
producers() { scattoctl show --json "$1" | grep -q "\"producers\": $2,"; }
consumers() { scattoctl show --json "$1" | grep -q "\"consumers\": $2,"; }

chmod 777 . && umask 0

# Usage
check "--version says a version" run 0 scattoctl --version
check "the version has its three numbers" grep -qE '^scattoctl [0-9]+\.[0-9]+\.[0-9]+$' out
check "--help goes to stdout" run_has 0 out "Usage:" --help
check "nothing to do is a mistake" run_has 2 err "Usage:" ""
check "an unknown command is named" run_has 2 err '"frob"' frob
check "a name that is missing" run_has 2 err "needs the name" show
check "an argument too many" run_has 2 err "too many" "show a b"
check "an option of another command" run_has 2 err '"list" has no option -x' "list -x"
check "an unknown option" run_has 2 err "--help" "list --frob"
check "a slot size that is none" run_has 2 err '"12x" is not a number' "create -s 12x c"
check "a slot size too small" run_has 2 err "8 to 1048576" "create -s 7 c"
check "a capacity that is no power of two" run_has 2 err "power of two" "create -c 12 c"
check "a mode with execute bits" run_has 2 err "read and write bits" "create -m 0700 c"
check "a mode that is none" run_has 2 err "octal" "create -m 9 c"
check "a name that is none" run_has 2 err "no '/'" "create a/b"

# What there is
check "an empty list says so" run_has 0 err "no named channels" list
check "an empty list for programs" run_has 0 out "[]" "list --json"

scattoctl create -p -s 16 -c 8 -m 0640 orders 2>held &
holder=$!
until_true scattoctl show orders
check "create says what it does" has held "until this command ends"
check "list shows the channel" run_has 0 out orders list
check "with kind, sizes, mode, owner and flags" \
	grep -qE '^orders +[0-9]+ spsc +16 +8 0640 root +root +pause$' out
check "list --json" run_has 0 out '{"name": "orders", "id": ' "list --json"
check "has every field" grep -qE '"kind": "spsc", "slot_size": 16, "capacity": 8, "mode": "0640", "uid": 0, "gid": 0, "flags": \["pause"\]}' out
check "show" run_has 0 out "8 of 16 bytes, 16K bytes in all" "show orders"
check "shows the state" grep -qE '^state +open$' out
check "show --json" run_has 0 out '"end": null' "show orders --json"
check "a second of the same name" run_has 1 err "exists" "create orders"

# Formats, and a pausing channel between them
printf 'one\ntwo\n' | scattoctl send --text orders
check "sent text waits" sh -c 'scattoctl show orders | grep -qE "^waiting +2, 25% full$"'
check "recv --text" run 0 scattoctl recv -n 2 --text orders
printf 'one\ntwo\n' >want
check "brings the lines back" same out want
printf '00ff\n  41 42 43\n' | scattoctl send orders
check "recv is hexadecimal" run 0 scattoctl recv --count 2 orders
printf '00ff%028d\n414243%026d\n' 0 0 >want
check "and padded with zeros" same out want
head -c 112 /dev/urandom >want
scattoctl send --raw orders <want
check "recv --raw" run 0 scattoctl recv -n 7 -r orders
check "brings the bytes back" same out want
printf 'a\033[2J\\b\n' | scattoctl send -t orders
check "text for a terminal" run 0 scattoctl recv -n 1 -t orders
printf 'a\\x1b[2J\\x5cb\n' >want
check "has no control characters" same out want

# What does not fit
printf 'ok\nseventeen letters\n' >in
check "a line too long fails" run 1 scattoctl send -t orders <in
check "a line too long is named" has err "line 2 has 17 bytes"
printf 'xyz\n' >in
check "so does one that is not hexadecimal" run 1 scattoctl send orders <in
check "and is named" has err "line 1 is not hexadecimal"
printf '123\n' >in
check "and half a byte" run 1 scattoctl send orders <in
check "likewise" has err "line 1 is not hexadecimal"
printf '%024d' 0 >in
check "and half an event" run 1 scattoctl send --raw orders <in
check "whose bytes are counted" has err "8 bytes of 16 were not sent"
check "what came before was sent" run 0 scattoctl recv -n 2 -x orders

# Advice
check "no such channel" run_has 3 err "no such channel" "recv order"
check "but a similar one" has err 'did you mean "orders"?'
check "or how to see all" run_has 3 err "scattoctl list" "show unheard"
check "not permitted to receive" as 4 user scattoctl recv orders
check "says which bit is missing" has err "needs the read bit"
check "and whose it is" has err "mode is 0640, owner root, group root"
check "not permitted to send" as 4 user scattoctl send orders "</dev/null"
check "says which" has err "needs the write bit"
check "not permitted to close" as 4 user scattoctl close orders
check "says who is" has err "only its owner may close it"
scattoctl recv orders >/dev/null 2>&1 &
consumer=$!
until_true consumers orders 1
check "a second consumer" run_has 1 err "can have only one" "recv orders"
kill $consumer

# A reader that goes away while nothing comes
until_true consumers orders 0
# shellcheck disable=SC2094 # the channel, not a file
(scattoctl recv orders; echo $? >status) | true
check "recv ends when nobody reads its output" until_true grep -q . status

# Ends
printf 'last\n' | scattoctl send -t orders
check "close" run 0 scattoctl close orders
check "ends what create holds" wait $holder
check "and the name goes with it" until_true gone orders

scattoctl create -s 8 -c 4 once -- sh -c '
	printf "1\n2\n3\n" | scattoctl send -t once
	scattoctl recv -n 5 -t once; echo "recv: $?"' >out 2>err
check "create runs a command and holds the channel" grep -q '^3$' out
check "recv tells an early end" has out "recv: 6"
check "and how early" has err "ended 2 events early"
check "the channel went with the command" run 3 scattoctl show once
check "the command's exit status" run 7 scattoctl create x -- sh -c 'exit 7'
check "a command that does not exist" run 127 scattoctl create x -- ./nothing
check "a killed command" run 137 scattoctl create x -- sh -c 'kill -9 $$'

scattoctl create -s 8 -c 2 short 2>/dev/null &
holder=$!
until_true scattoctl show short
scattoctl recv -n 1 short >/dev/null &
until_true consumers short 1
seq 100 >in
check "send ends with the stream" run 6 scattoctl send -t short <in
check "and tells when nobody receives any more" has err "nobody receives"
check "create ends when its channel is of no use" wait $holder

# Many producers
check "several need the kind" run_has 2 err "need --kind mpsc" "create -P 2 c"
check "a kind that is none" run_has 2 err "neither spsc nor mpsc" "create -k spmc c"
check "more than there can be" run_has 2 err "1024" "create -k mpsc -P 1025 c"
scattoctl create -p -k mpsc -P 2 -s 8 -c 64 many 2>/dev/null &
holder=$!
until_true scattoctl show many
check "show has the kind" grep_show many '^kind +mpsc, flags'
# Both hold their places until one too many has tried.
sender() { (echo "a$1"; until_true test -e refused; echo "b$1") | scattoctl send -t many; }
sender 1 &
first=$!
sender 2 &
second=$!
until_true producers many 2
check "a producer too many" run 1 scattoctl send -t many </dev/null
check "is told how many there can be" has err "as many producers as it can have"
touch refused
wait $first $second
check "recv has what all have sent" run 0 scattoctl recv -n 4 -t many
cat >want <<-END
	a1
	b1
	a2
	b2
END
sort -s -k 1.2 out >sorted
check "of each in its order" same sorted want
check "show has the position" grep_show many '^claimed +4$'
check "the repairs" grep_show many '^repairs +0, all done$'
check "and the tombstones" grep_show many '^tombstones +0 by the kernel, 0 skipped$'
check "show --json has them too" sh -c 'scattoctl show --json many | grep -q "\"skipped\": 0"'
kill $holder

# The kernel's channels, and losses
if insmod /lib/modules-scatto/scatto_sched.ko capacity=64 mode=0400; then
	check "show a channel of the kernel's" run_has 0 out "the kernel" "show sched"
	check "with its flags" grep -qE '^kind +mpsc, flags kernel$' out
	check "only the kernel sends" run_has 4 err "only the kernel" "send sched"
	check "only the kernel closes" run_has 4 err "only the kernel" "close sched"
	# It writes into a full pipe, so the ring fills, too.
	(scattoctl recv sched 2>losses; echo $? >ended) | {
		exec 3<&0
		sleep 1
		for _ in $(seq 300); do true | true; done
		cat <&3 >events &
		sleep 1
		for _ in $(seq 50); do true | true; done
		rmmod scatto_sched
		wait
	}
	check "recv ends with the stream" has ended 0
	check "events came" test -s events
	cat losses >err
	check "losses are told where they are" grep -qE '^scattoctl: lost [0-9]+ before event [0-9]+$' losses
else
	n=$((n + 1))
	echo "ok $n # SKIP scatto_sched.ko does not load"
fi

# No permission for the device, no module
chmod 600 /dev/scatto
check "no access to the device" as 4 user scattoctl show x
check "says so" has err "may not open /dev/scatto"
chmod 666 /dev/scatto
if rmmod scatto; then
	check "no module" run_has 5 err "modprobe scatto" list
	insmod /lib/modules-scatto/scatto.ko
fi

echo "1..$n"
[ $fails = 0 ]
