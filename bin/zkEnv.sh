#!/usr/bin/env bash
# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# Sets up the environment of the other scripts, which source it. What it heeds:
#   --config DIR   (as the first two arguments) the same as ZOOCFGDIR=DIR
#   ZOOCFGDIR      directory of the configuration; else conf beside bin, else etc/zookeeper
#   ZOOCFG         name of the configuration file in it; else zoo.cfg
#   ZOO_LOG_DIR    directory of logs; else logs beside bin
#   IRONKEEPER     the program; else target/release/ironkeeper, bin/ironkeeper, or one in PATH
# zookeeper-env.sh and java.env in ZOOCFGDIR are sourced and may set all of these, and
# SERVER_JVMFLAGS, CLIENT_JVMFLAGS and JVMFLAGS, whose -Dname=value words reach the program.
# No Java is needed; JAVA_HOME, CLASSPATH and the heap sizes have no effect.

ZOOBINDIR="${ZOOBINDIR:-/usr/bin}"
ZOOKEEPER_PREFIX="${ZOOBINDIR}/.."

if [ $# -gt 1 ] && [ "$1" = "--config" ]; then
  ZOOCFGDIR="$2"
  shift 2
fi

if [ -z "$ZOOCFGDIR" ]; then
  if [ -e "$ZOOKEEPER_PREFIX/conf" ]; then
    ZOOCFGDIR="$ZOOBINDIR/../conf"
  else
    ZOOCFGDIR="$ZOOBINDIR/../etc/zookeeper"
  fi
fi

if [ -f "$ZOOCFGDIR/zookeeper-env.sh" ]; then
  . "$ZOOCFGDIR/zookeeper-env.sh"
fi

case "${ZOOCFG:=zoo.cfg}" in
  /*) ;;
  *) ZOOCFG="$ZOOCFGDIR/$ZOOCFG" ;;
esac

if [ -f "$ZOOCFGDIR/java.env" ]; then
  . "$ZOOCFGDIR/java.env"
fi

ZOO_LOG_DIR="${ZOO_LOG_DIR:-$ZOOKEEPER_PREFIX/logs}"
export SERVER_JVMFLAGS CLIENT_JVMFLAGS JVMFLAGS ZOO_LOG4J_PROP

# A batch of requests takes and gives back memory by the hundred: glibc's caches are too short for
# that as they come, which costs a tenth of the CPU time of a write.
export GLIBC_TUNABLES="${GLIBC_TUNABLES:-glibc.malloc.tcache_count=500}"

# Sets IRONKEEPER to the program's path; fails if there is none.
find_ironkeeper() {
  if [ -n "$IRONKEEPER" ]; then
    [ -x "$IRONKEEPER" ] && return
    echo "Error: IRONKEEPER is $IRONKEEPER, which is no program." >&2
    exit 1
  fi
  for IRONKEEPER in "$ZOOKEEPER_PREFIX/target/release/ironkeeper" "$ZOOBINDIR/ironkeeper"; do
    [ -x "$IRONKEEPER" ] && return
  done
  IRONKEEPER="$(type -P ironkeeper)"
}

# The same, or ends the script.
require_ironkeeper() {
  find_ironkeeper && return
  echo "Error: ironkeeper is not built yet. 'zkServer.sh start' or 'cargo build --release' \
does it." >&2
  exit 1
}

# The same, and builds the program first if it is not there.
build_ironkeeper() {
  find_ironkeeper && return
  local cargo
  cargo="$(PATH="$PATH:$HOME/.cargo/bin" type -P cargo)"
  if [ -z "$cargo" ] || [ ! -f "$ZOOKEEPER_PREFIX/Cargo.toml" ]; then
    echo "Error: ironkeeper was found neither in $ZOOBINDIR nor in PATH, and cannot be built: \
that takes the sources and a Rust toolchain (cargo, see https://rustup.rs)." >&2
    exit 1
  fi
  echo "ironkeeper is not built yet: building it, which takes a few minutes ..." >&2
  if ! (cd "$ZOOKEEPER_PREFIX" && "$cargo" build --release --quiet) >&2; then
    echo "Error: building ironkeeper failed." >&2
    exit 1
  fi
  require_ironkeeper
}

# The last value of a key in a configuration file, without the blanks around it.
setting() { # KEY FILE
  sed -n -e "s/^[[:space:]]*${1//./\\.}[[:space:]]*[=:][[:space:]]*//p" "$2" 2> /dev/null |
    sed -n -e 's/[[:space:]]*$//' -e '$p'
}
