# shellcheck shell=bash
# A real sshd for tests: own configuration, keys and port, on loopback only. Sourced after lib.sh, or by itself.
#
#   sshd_start DIR [CONFIG LINE...]   starts one whose files lie in DIR; sets SSHD_PORT, SSHD_PID, and exports TWOFOLD_SSH so that twofold uses
#                                     its keys and knows its host key. The lines go before the usual configuration (the first value counts).
#   sshd_children                     the processes that serve connections
#   sshd_kill [SIGNAL]                sends them a signal (KILL)
#   sshd_stop                         ends all of it
# sftp://127.0.0.1:$SSHD_PORT/ABSOLUTE/PATH is a location on it; the user is the one that runs the tests.

sshd_config() {
	local dir=$1
	shift
	[ $# = 0 ] || printf '%s\n' "$@"
	cat <<-TEXT
	ListenAddress 127.0.0.1
	Port $SSHD_PORT
	HostKey $dir/host_key
	PidFile $dir/pid
	AuthorizedKeysFile $dir/authorized
	StrictModes no
	PasswordAuthentication no
	KbdInteractiveAuthentication no
	UsePAM no
	PermitRootLogin yes
	MaxStartups 100
	Subsystem sftp internal-sftp
	LogLevel VERBOSE
	TEXT
}

# The client knows this host key and uses this key, and nothing of the user's.
sshd_client() {
	local dir=$1
	cat >"$dir/client" <<-TEXT
	Host *
		IdentityFile $dir/user_key
		IdentitiesOnly yes
		IdentityAgent none
		UserKnownHostsFile $dir/known
		GlobalKnownHostsFile /dev/null
	TEXT
	echo "[127.0.0.1]:$SSHD_PORT $(cut -d ' ' -f 1,2 "$dir/host_key.pub")" >"$dir/known"
	export TWOFOLD_SSH="ssh -F $dir/client"
}

sshd_start() {
	local dir=$1 try
	shift
	mkdir -p "$dir"
	dir=$(cd "$dir" && pwd)
	[ -f "$dir/host_key" ] || ssh-keygen -q -t ed25519 -N '' -f "$dir/host_key"
	[ -f "$dir/user_key" ] || ssh-keygen -q -t ed25519 -N '' -f "$dir/user_key"
	cp "$dir/user_key.pub" "$dir/authorized"
	[ "$(id -u)" != 0 ] || mkdir -p /run/sshd
	for try in 1 2 3 4 5 6 7 8; do
		SSHD_PORT=${SSHD_WANT_PORT:-$((20000 + RANDOM % 12000))}
		sshd_config "$dir" "$@" >"$dir/config"
		rm -f "$dir/pid"
		"$(command -v sshd || echo /usr/sbin/sshd)" -f "$dir/config" -E "$dir/log" || continue
		for _ in $(seq 100); do
			[ ! -s "$dir/pid" ] || break
			sleep 0.02
		done
		[ -s "$dir/pid" ] || continue
		SSHD_PID=$(cat "$dir/pid")
		export SSHD_PORT SSHD_PID SSHD_DIR=$dir
		sshd_client "$dir"
		return 0
	done
	echo "sshd does not start after $try tries:"
	cat "$dir/log"
	return 1
}

# All descendants of the listening one; a connection is two or three processes.
sshd_children() {
	ps -e -o pid= -o ppid= | awk -v root="$SSHD_PID" '
		{ parent[$1] = $2 }
		END {
			for (pid in parent) {
				depth = 0
				for (at = pid; at in parent && at != root && depth < 20; depth++)
					at = parent[at]
				if (at == root && pid != root)
					print pid
			}
		}'
}

sshd_kill() {
	local pid
	for pid in $(sshd_children); do kill -"${1:-KILL}" "$pid" 2>/dev/null || true; done
}

sshd_stop() {
	[ -n "${SSHD_PID:-}" ] || return 0
	local children
	children=$(sshd_children)
	# Stopped ones too.
	for pid in $SSHD_PID $children; do kill -KILL "$pid" 2>/dev/null || true; done
	for _ in $(seq 100); do
		grep -q '^State:.[^Z]' "/proc/$SSHD_PID/status" 2>/dev/null || break
		sleep 0.02
	done
	SSHD_PID=
}
