# shellcheck shell=bash
# SFTP over a link that the kernel slows down: netem on a pair of interfaces, the server in a network namespace of its own, all in the test machine, as the host's kernel may
# lack netem. "./dev bench-netem" runs it; it is no part of ./dev test, for it measures. The machine's processor is emulated, so the link is slow: 20 Mbit/s, 50 ms there and back.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-vm.sh"

test_link() {
	vm_needed
	needs_tool ssh ssh-keygen ip tc
	mkdir vm
	cp "$folder/lib-sshd.sh" vm/
	vm_run vm <<-'SCRIPT'
	set +x
	modprobe -a sch_netem veth
	ip netns add server
	ip link add near type veth peer name far netns server
	ip addr add 10.9.0.1/24 dev near
	ip link set near up
	ip netns exec server ip addr add 10.9.0.2/24 dev far
	ip netns exec server ip link set far up
	tc qdisc add dev near root netem delay 25ms rate 20mbit limit 2000
	ip netns exec server tc qdisc add dev far root netem delay 25ms rate 20mbit limit 2000

	. ./lib-sshd.sh
	mkdir -p /run/ssh /run/sshd
	ssh-keygen -q -t ed25519 -N '' -f /run/ssh/host_key
	ssh-keygen -q -t ed25519 -N '' -f /run/ssh/user_key
	cp /run/ssh/user_key.pub /run/ssh/authorized
	SSHD_PORT=2222
	sshd_config /run/ssh | sed 's/127.0.0.1/10.9.0.2/' >/run/ssh/config
	ip netns exec server /usr/sbin/sshd -f /run/ssh/config -E /run/ssh/log
	sshd_client /run/ssh
	sed -i 's/127.0.0.1/10.9.0.2/' /run/ssh/known
	until [ -s /run/ssh/pid ]; do sleep 0.1; done

	# share NAME COMMAND...: how much of the link 30 MB in the time of the command are.
	share() {
		local name=$1 begun=$EPOCHREALTIME
		shift
		"$@"
		echo "$begun $EPOCHREALTIME" | awk -v n="$name" '{ printf "%s: %.1f s, %.0f %% of the link\n", n, $2 - $1, 30e6 * 8 / ($2 - $1) / 20e6 * 100 }' >>figures
	}
	export TWOFOLD_REPOSITORY=sftp://10.9.0.2:2222/run/repo
	mkdir /run/tree
	for i in 1 2 3 4 5 6; do head -c 5000000 /dev/urandom >"/run/tree/$i"; done
	twofold -q init
	share 'whole backup' twofold -q backup /run/tree
	share 'whole restore' twofold -q --no-cache restore latest --target /run/back
	diff -r /run/tree /run/back/run/tree
	SCRIPT
	cp vm/figures "${FIGURES:-/dev/null}"
}

run_cases
