# shellcheck shell=bash
# 138 images of other filesystems, RAID members and partition tables (util-linux's own tests).
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-image.sh"

test_every_image() {
	needs init image restore-image ls restore
	needs_tool xz dumpe2fs
	each_image util-linux-images
}

run_cases
