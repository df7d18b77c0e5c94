# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Sourced. Packages from the Debian archive without touching the host's apt:
# kernels and sources come from suites (backports, security) which a fresh
# Debian 12 may not have enabled, so a private apt configuration with its own
# package lists lives in the cache.  Mirror, proxy and credentials are the host's.

CACHE=${SCATTO_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/scatto}
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

note() { echo "${0##*/}: $*" >&2; }
die() { note "$*"; exit 1; }

# cached NAME COMMAND...: print $CACHE/NAME; where it is missing, run COMMAND
# with a temporary folder as the last argument, then rename that into place.  An
# interrupted run leaves nothing behind that looks finished.
cached() {
	local name=$1 tmp
	shift

	if [ ! -d "$CACHE/$name" ]; then
		mkdir -p "$CACHE" || die "cannot create the cache $CACHE; set SCATTO_CACHE to a writable folder"
		exec 9>"$CACHE/.$name.lock"
		flock 9
		if [ ! -d "$CACHE/$name" ]; then
			tmp=$CACHE/.$name.tmp
			rm -rf "$tmp"
			mkdir "$tmp"
			"$@" "$tmp"
			mv "$tmp" "$CACHE/$name"
			note "$name is ready in $CACHE/$name"
		fi
		exec 9>&-
	fi
	echo "$CACHE/$name"
}

# mirror SUITE DEFAULT: where the host's apt gets that suite.
mirror() {
	local uri
	# shellcheck disable=SC2016 # apt expands these, not the shell
	uri=$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' |
		awk -v suite="$1" '$1 == suite { print $2; exit }')
	echo "${uri:-$2}"
}

# archive_open DIR [SUITE...]: write the configuration into DIR and read the lists, of
# those suites too.
archive_open() {
	local dir=$1 codename main security suite
	shift

	[ "$(dpkg --print-architecture)" = amd64 ] || die "packaged kernels are fetched for amd64 only"
	[ -f $KEYRING ] || die "$KEYRING is missing; install debian-archive-keyring"
	codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
	main=$(mirror "$codename" http://deb.debian.org/debian)
	security=$(mirror "$codename-security" http://deb.debian.org/debian-security)

	mkdir -p "$dir/lists/partial" "$dir/archives/partial"
	: >"$dir/status"
	for suite in "$main bookworm" "$main bookworm-backports" "$security bookworm-security" "${@/#/$main }"; do
		echo "deb [arch=amd64 signed-by=$KEYRING] $suite main"
	done >"$dir/sources.list"
	cat >"$dir/apt.conf" <<-CONF
		#clear APT::Update::Post-Invoke;
		#clear APT::Update::Post-Invoke-Success;
		#clear DPkg::Post-Invoke;
		Dir::State "$dir";
		Dir::State::lists "lists";
		Dir::State::status "$dir/status";
		Dir::Cache "$dir";
		Dir::Etc::SourceList "$dir/sources.list";
		Dir::Etc::SourceParts "/dev/null";
		Dir::Etc::Preferences "/dev/null";
		Dir::Etc::PreferencesParts "/dev/null";
		APT::Sandbox::User "$(id -un)";
		Acquire::Languages "none";
		Acquire::Retries "3";
		Acquire::Check-Valid-Until "false";
	CONF
	ARCHIVE=$dir
	note "reading the package lists of bookworm, -backports and -security${*:+, $*}"
	# A mirror without one of the suites may still have the package. One that is frozen
	# at a date is as good: what is fetched is signed, only not fresh.
	apt-get -qq -c "$dir/apt.conf" update >&2 || note "some lists could not be read, trying without them"
}

# archive_get PACKAGE...: download into $ARCHIVE/deb; apt checks signature and hash.
archive_get() {
	local size
	mkdir -p "$ARCHIVE/deb"
	size=$(apt-cache -c "$ARCHIVE/apt.conf" --no-all-versions show "$@" |
		awk '$1 == "Size:" { s += $2 } END { print int(s / 1000000) }')
	note "downloading $* ($size MB)"
	(cd "$ARCHIVE/deb" && apt-get -q -c "$ARCHIVE/apt.conf" download "$@" >&2) ||
		die "cannot download $*; is the mirror in $ARCHIVE/sources.list reachable?"
}
