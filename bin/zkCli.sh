#!/usr/bin/env bash
# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# The client shell: zkCli.sh [-server HOST:PORT] [-timeout MS] [-r] [command [arguments]]
# -Dname=value words of CLIENT_JVMFLAGS reach it; see zkEnv.sh.

ZOOBIN="$(readlink -f "${BASH_SOURCE[0]}")"
ZOOBINDIR="$(cd "$(dirname "$ZOOBIN")" && pwd)"

if [ -e "$ZOOBINDIR/../libexec/zkEnv.sh" ]; then
  . "$ZOOBINDIR/../libexec/zkEnv.sh"
else
  . "$ZOOBINDIR/zkEnv.sh"
fi

build_ironkeeper
exec "$IRONKEEPER" cli "$@"
