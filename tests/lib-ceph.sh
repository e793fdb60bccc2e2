# shellcheck shell=bash
# Sourced by the tests that need an S3 server. Two real ones, on loopback, each started by hand, without systemd, and stopped by its process id:
#
#   ceph_start FOLDER [OSDS]   Ceph's gateway (RGW) over OSDS object daemons in memory (1; with 3 every object is kept three times).
#                              Exports S3_ENDPOINT, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY of its user "tester".
#   ceph_admin ARGS...         radosgw-admin
#   ceph_tool ARGS...          ceph
#   sloppy_start FOLDER        s3rver, which ignores conditions and checksums; exports the same three.
#   servers_stop               stops whatever was started; call it from a trap on EXIT
#   s3 METHOD PATH [CURL OPTIONS...]   one signed request by curl's own signer: PATH is /bucket/key?query
#   s3_bucket NAME [CURL OPTIONS...]   makes a bucket
#
# Where a server is not installed, ceph_start and sloppy_start return 77 and the variable missing says what is.
server_pids=()
ceph_pids=()
# shellcheck disable=SC2034 # for whoever sources this
missing=

free_port() {
	local port
	for _ in $(seq 100); do
		port=$((20000 + RANDOM % 12000))
		(: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return 0; }
	done
	return 1
}

# wait_until SECONDS COMMAND...: tried every 50 ms.
wait_until() {
	local end=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		[ "$SECONDS" -lt "$end" ] || { echo "gave up waiting for: $*" >&2; return 1; }
		sleep 0.05
	done
}

# In the background, in a session of its own: a Ctrl-C for the test does not reach it. Sets started.
daemon() { # LOG COMMAND...
	local log=$1
	shift
	setsid "$@" >"$log" 2>&1 </dev/null &
	started=$!
	server_pids+=("$started")
	disown "$started"
}

servers_stop() {
	local pid
	for pid in "${server_pids[@]}"; do
		kill -KILL "$pid" 2>/dev/null || true # may be dead already
	done
	server_pids=()
	return 0
}

# --- Ceph -----------------------------------------------------------------------

ceph_tool() { ceph -c "$ceph/ceph.conf" --connect-timeout 10 "$@"; }
ceph_admin() { radosgw-admin -c "$ceph/ceph.conf" -n client.rgw.a "$@" 2>>"$ceph/admin.log"; }

ceph_config() { # OSDS PORT
	local classes
	classes=$(dirname "$(find /usr/lib -name libcls_rgw.so -print -quit)")
	cat <<-TEXT
		[global]
		fsid = $ceph_fsid
		mon host = [v2:127.0.0.1:$ceph_port,v1:127.0.0.1:$ceph_port_old]
		public network = 127.0.0.0/8
		cluster network = 127.0.0.0/8
		ms bind ipv6 = false
		auth cluster required = cephx
		auth service required = cephx
		auth client required = cephx
		keyring = $ceph/keyring
		run dir = $ceph
		admin socket = $ceph/\$name.\$pid.asok
		pid file = $ceph/\$name.pid
		log file = $ceph/\$name.log
		log to stderr = false
		err to stderr = false
		crash dir = $ceph/crash
		osd class dir = $classes
		plugin dir = $(dirname "$classes")/ceph
		osd pool default size = $1
		osd pool default min size = 1
		osd pool default pg num = 4
		osd pool default pgp num = 4
		osd pool default pg autoscale mode = off
		osd crush chooseleaf type = 0
		mon allow pool size one = true
		mon data = $ceph/mon
		mon data avail warn = 1
		mon data avail crit = 1
		mon osd full ratio = .99
		mon osd down out interval = 5
		mon osd min down reporters = 1
		osd heartbeat interval = 1
		osd heartbeat grace = 3
		paxos propose interval = 0.02
		osd data = $ceph/osd.\$id
		osd objectstore = memstore
		memstore device bytes = ${CEPH_OSD_BYTES:-4294967296}
		osd memory target = 939524096
		[client.rgw.a]
		rgw data = $ceph/rgw
		rgw frontends = beast endpoint=127.0.0.1:$2
		rgw lc debug interval = 0
		rgw enable usage log = false
		rgw enable ops log = false
	TEXT
}

ceph_keys() { # OSDS
	local i
	ceph-authtool --create-keyring "$ceph/keyring" --gen-key -n mon. --cap mon 'allow *'
	ceph-authtool "$ceph/keyring" --gen-key -n client.admin --cap mon 'allow *' --cap osd 'allow *' --cap mds 'allow *' --cap mgr 'allow *'
	ceph-authtool "$ceph/keyring" --gen-key -n client.rgw.a --cap mon 'allow rw' --cap osd 'allow rwx'
	for ((i = 0; i < $1; i++)); do
		ceph-authtool "$ceph/keyring" --gen-key -n "osd.$i" --cap mon 'allow profile osd' --cap osd 'allow *'
	done
}

ceph_osd_start() { # NUMBER
	daemon "$ceph/osd.$1.out" ceph-osd -c "$ceph/ceph.conf" -i "$1" -f
	ceph_pids[$1]=$started
}

ceph_osd_stop() { # NUMBER: killed, as by a power cut
	kill -KILL "${ceph_pids[$1]}"
}

ceph_up() { # OSDS
	[ "$(ceph_tool osd stat -f json | sed -n 's/.*"num_up_osds":\([0-9]*\).*/\1/p')" = "$1" ]
}

ceph_user() { # KEY SECRET
	ceph_admin user create --uid tester --display-name tester --access-key "$1" --secret-key "$2" >"$ceph/user"
}

ceph_boot() { # OSDS PORT
	local i uuid
	ceph_config "$1" "$2" >"$ceph/ceph.conf"
	ceph_keys "$1"
	monmaptool --create --fsid "$ceph_fsid" --addv a "[v2:127.0.0.1:$ceph_port,v1:127.0.0.1:$ceph_port_old]" "$ceph/monmap"
	ceph-mon -c "$ceph/ceph.conf" --mkfs -i a --monmap "$ceph/monmap" --keyring "$ceph/keyring"
	daemon "$ceph/mon.out" ceph-mon -c "$ceph/ceph.conf" -i a -f
	for ((i = 0; i < $1; i++)); do
		uuid=$(cat /proc/sys/kernel/random/uuid)
		mkdir -p "$ceph/osd.$i"
		ceph_tool osd new "$uuid"
		ceph-osd -c "$ceph/ceph.conf" -i "$i" --mkfs --osd-uuid "$uuid"
		ceph_osd_start "$i"
	done
	wait_until 30 ceph_up "$1"
	daemon "$ceph/rgw.out" radosgw -c "$ceph/ceph.conf" -n client.rgw.a -f
}

ceph_start() {
	local tool port
	for tool in ceph-mon ceph-osd radosgw radosgw-admin ceph monmaptool ceph-authtool curl; do
		command -v "$tool" >/dev/null || { missing="$tool is not installed"; return 77; }
	done
	ceph=$1
	mkdir -p "$ceph/mon" "$ceph/rgw" "$ceph/crash"
	ceph_fsid=$(cat /proc/sys/kernel/random/uuid)
	ceph_port=$(free_port) ceph_port_old=$(free_port) port=$(free_port)
	export S3_ENDPOINT=http://127.0.0.1:$port AWS_ACCESS_KEY_ID=AKTESTER AWS_SECRET_ACCESS_KEY=secret/of+tester
	ceph_boot "${2:-1}" "$port" >"$ceph/boot.log" 2>&1 || { tail -n 5 "$ceph/boot.log"; return 1; }
	ceph_user "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY"
	wait_until 30 curl -s -o /dev/null "$S3_ENDPOINT"
}

# --- s3rver -----------------------------------------------------------------------

# sloppy_start FOLDER: ./dev test installs it there.
sloppy_start() {
	local program=${TWOFOLD_S3RVER:-$(dirname "${BASH_SOURCE[0]}")/../build-s3rver}/node_modules/s3rver/bin/s3rver.js port
	command -v node >/dev/null || { missing='node is not installed'; return 77; }
	# shellcheck disable=SC2034
	[ -f "$program" ] || { missing='s3rver is not installed (./dev test does it where npm works)'; return 77; }
	mkdir -p "$1"
	port=$(free_port)
	export S3_ENDPOINT=http://127.0.0.1:$port AWS_ACCESS_KEY_ID=S3RVER AWS_SECRET_ACCESS_KEY=S3RVER
	daemon "$1.log" env NODE_OPTIONS=--openssl-legacy-provider node "$program" -d "$1" -a 127.0.0.1 -p "$port" -s
	wait_until 20 curl -s -o /dev/null "$S3_ENDPOINT"
}

# --- requests by curl -----------------------------------------------------------------

s3() {
	local method=$1 path=$2
	shift 2
	curl -sS --fail-with-body -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' --aws-sigv4 "aws:amz:us-east-1:s3" -u "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" -X "$method" "$@" "$S3_ENDPOINT$path"
}

s3_bucket() {
	local name=$1
	shift
	s3 PUT "/$name" "$@"
}
