#!/bin/sh
# Entry point of the image `tools`: runs `batchyield` in a clone of the checkout that is mounted read-only at /checkout, with
# its branches and tags, its DVC settings, and its DVC cache from /cache. Files that a command writes go to /tmp/checkout.
set -eu
git config --global safe.directory '*' # the checkout belongs to another user
git clone --quiet --shared /checkout /tmp/checkout
cd /tmp/checkout
git fetch --quiet --update-head-ok origin '+refs/heads/*:refs/heads/*'
if [ -r /checkout/.dvc/config.local ]; then # on this machine's loopback there is only the S3 server of profile `storage`
  sed -E 's#http://(127\.0\.0\.1|localhost):[0-9]+#http://s3:9000#' /checkout/.dvc/config.local >.dvc/config.local
fi
python -m dvc config --local cache.dir /cache
mkdir -p data/model && cp /opt/batchyield/app/data/model/* data/model/ # the image's own, which serves unless another one is deployed
exec python -m batchyield.cli "$@"
