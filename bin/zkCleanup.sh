#!/usr/bin/env bash
# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# Deletes old transaction logs and snapshots of the configured directories, keeping the newest
# COUNT (3 or more) snapshots and the logs that go with them: zkCleanup.sh -n COUNT

ZOOBIN="$(readlink -f "${BASH_SOURCE[0]}")"
ZOOBINDIR="$(cd "$(dirname "$ZOOBIN")" && pwd)"

if [ -e "$ZOOBINDIR/../libexec/zkEnv.sh" ]; then
  . "$ZOOBINDIR/../libexec/zkEnv.sh"
else
  . "$ZOOBINDIR/zkEnv.sh"
fi

ZOODATADIR="$(setting dataDir "$ZOOCFG")"
ZOODATALOGDIR="$(setting dataLogDir "$ZOOCFG")"

if [ -z "$ZOODATADIR" ]; then
  echo "Unable to determine dataDir from $ZOOCFG" >&2
  exit 1
fi

require_ironkeeper
if [ -z "$ZOODATALOGDIR" ]; then
  exec "$IRONKEEPER" purge "$ZOODATADIR" "$@"
else
  exec "$IRONKEEPER" purge "$ZOODATALOGDIR" "$ZOODATADIR" "$@"
fi
