# shellcheck shell=bash
# 109 real ext images, most of them damaged on purpose (e2fsprogs's own tests).
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-image.sh"

test_every_image() {
	needs init image restore-image ls restore
	needs_tool gzip dumpe2fs
	each_image e2fsprogs-images
}

run_cases
