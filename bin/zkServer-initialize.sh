#!/usr/bin/env bash
# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# Makes the configured directories ready for a new server: empties version-2 in both, writes myid,
# and leaves the file 'initialize', by which the server knows that to be empty is right.

ZOOBIN="$(readlink -f "${BASH_SOURCE[0]}")"
ZOOBINDIR="$(cd "$(dirname "$ZOOBIN")" && pwd)"

if [ -e "$ZOOBINDIR/../libexec/zkEnv.sh" ]; then
  . "$ZOOBINDIR/../libexec/zkEnv.sh"
else
  . "$ZOOBINDIR/zkEnv.sh"
fi

usage() {
  cat << END
usage: $0 <parameters>
  Optional parameters:
     -h, --help          Display this message
     --configfile=FILE   ZooKeeper config file; else $ZOOCFG
     --myid=#            Set the myid to be used, if any (1-255)
     --force             Force creation of the data/txnlog dirs
END
  exit 1
}

# Fails if there is data in a directory already.
refuse_data() { # NAME DIRECTORY
  if [ -d "$2/version-2" ]; then
    echo "ZooKeeper $1 directory already exists at $2 (or use --force to force re-initialization)"
    exit 1
  fi
}

# Takes out what a server left, and nothing else.
empty() { # DIRECTORY
  rm -rf "$1/myid" "$1/version-2" 2> /dev/null
  mkdir -p "$1/version-2" || exit 1
}

initialize() {
  if [ ! -e "$ZOOCFG" ]; then
    echo "Unable to find config file at $ZOOCFG"
    exit 1
  fi
  local datadir datalogdir
  datadir="$(setting dataDir "$ZOOCFG")"
  datalogdir="$(setting dataLogDir "$ZOOCFG")"
  if [ -z "$datadir" ]; then
    echo "Unable to determine dataDir from $ZOOCFG"
    exit 1
  fi

  if [ -n "$FORCE" ]; then
    echo "Force enabled, data/txnlog directories will be re-initialized"
  else
    refuse_data data "$datadir"
    [ -z "$datalogdir" ] || refuse_data txnlog "$datalogdir"
  fi
  empty "$datadir"
  [ -z "$datalogdir" ] || empty "$datalogdir"

  if [ -n "$MYID" ]; then
    echo "Using myid of $MYID"
    echo "$MYID" > "$datadir/myid"
  else
    echo "No myid provided, be sure to specify it in $datadir/myid if using non-standalone"
  fi
  # The server looks for the mark where its logs are.
  touch "$datadir/initialize" "${datalogdir:-$datadir}/initialize"
}

FORCE=
MYID=
while [ -n "$1" ]; do
  case "$1" in
    --configfile)
      ZOOCFG="$2"
      shift
      ;;
    --configfile=?*)
      ZOOCFG="${1#*=}"
      ;;
    --myid)
      MYID="$2"
      shift
      ;;
    --myid=?*)
      MYID="${1#*=}"
      ;;
    --force)
      FORCE=1
      ;;
    -h | --help)
      usage
      ;;
    *)
      echo "Unknown option: $1"
      usage
      ;;
  esac
  shift
done
initialize
