# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Sourced. Judges one test program at a time from what it prints (TAP, where it
# does), its exit status and complaints of others, and keeps the totals.

passed=0 failed=0 skipped=0

tap_begin() {
	tap_name=$1 tap_ok=0 tap_bad=0 tap_skip=0 tap_plan='' tap_why=() tap_tail=()
}

# One line of output.
tap_line() {
	case $1 in
	'ok '[0-9]*'# SKIP'* | 'ok '[0-9]*'# skip'*) tap_skip=$((tap_skip + 1)) ;;
	'ok '[0-9]*) tap_ok=$((tap_ok + 1)) ;;
	'not ok '[0-9]*'# TODO'*) tap_skip=$((tap_skip + 1)) ;;
	'not ok '[0-9]*) tap_bad=$((tap_bad + 1)) ;;
	1..[0-9]*)
		tap_plan=${1#1..}
		tap_plan=${tap_plan%% *}
		;;
	esac
	tap_tail+=("$1")
	[ ${#tap_tail[@]} -le 1000 ] || tap_tail=("${tap_tail[@]:500}")
}

# A reason to fail from outside the program.
tap_complain() { tap_why+=("$1"); }

# tap_end STATUS SECONDS LIMIT: count, and print one line, or what is known of a failure.
tap_end() {
	local status=$1 seconds=$2 limit=$3 results=$((tap_ok + tap_bad + tap_skip)) word detail=''

	case $status in
	0) ;;
	4) [ $results -gt 0 ] || tap_skip=1 ;;
	137)
		if [ "${seconds%.*}" -ge "$limit" ]; then
			tap_why+=("timed out after $limit s")
		else
			tap_why+=("killed by SIGKILL")
		fi
		;;
	*)
		if [ "$status" -gt 128 ]; then
			tap_why+=("killed by signal $((status - 128))")
		elif [ "$tap_bad" = 0 ] && [ ${#tap_why[@]} = 0 ]; then
			tap_why+=("exit status $status")
		fi
		;;
	esac
	if [ "$status" = 0 ] && [ $results = 0 ]; then
		tap_ok=1
	fi
	if [ "$status" = 0 ] && [ -n "$tap_plan" ] && [ "$tap_plan" != $results ]; then
		tap_why+=("$tap_plan results planned, $results came")
	fi
	# Complaints are one failure however many lines they have.
	[ ${#tap_why[@]} = 0 ] || tap_bad=$((tap_bad + 1))

	passed=$((passed + tap_ok)) failed=$((failed + tap_bad)) skipped=$((skipped + tap_skip))
	if [ "$tap_bad" != 0 ]; then
		word=FAIL
	elif [ "$tap_ok" = 0 ]; then
		word=skip
	else
		word=ok
	fi
	[ $((tap_ok + tap_bad + tap_skip)) -le 1 ] || detail="$tap_ok passed"
	[ -z "$detail" ] || [ "$tap_bad" = 0 ] || detail+=", $tap_bad failed"
	[ -z "$detail" ] || [ "$tap_skip" = 0 ] || detail+=", $tap_skip skipped"
	printf '%-4s  %-32s %7s s  %s\n' $word "$tap_name" "$seconds" "$detail"

	if [ $word = FAIL ]; then
		# All but what went well; the log has the whole of it.
		printf '%s\n' "${tap_tail[@]}" |
			sed -E '/^(ok [0-9]|TAP version|# +(RUN|OK) |1\.\.|$)/d;s/^/      | /' | tail -n 80
		[ ${#tap_why[@]} = 0 ] || printf '%s\n' "${tap_why[@]}" | sed 's/^/      > /'
	elif [ "$tap_skip" != 0 ]; then
		# A skip says why.
		printf '%s\n' "${tap_tail[@]}" | grep -iE '# SKIP' | head -n 3 | sed 's/^/      | /' || true
	fi
}

# tap_total [FILE]: the line that ends a run; or added to FILE for the caller's.
tap_total() {
	if [ -n "${1:-}" ]; then
		echo "$passed $failed $skipped" >>"$1"
	else
		echo "$passed passed, $failed failed, $skipped skipped"
	fi
	[ $failed = 0 ] && [ $((passed + failed + skipped)) != 0 ]
}
