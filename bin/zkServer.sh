#!/usr/bin/env bash
# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# Starts and stops a server, and says how it is:
#   zkServer.sh [--config DIR] {start|start-foreground|stop|version|restart|status|print-cmd} [CFG]
# CFG is a file in the configuration directory, or a path. zkEnv.sh lists the environment that is
# heeded; beside that, here:
#   ZOOPIDFILE                      the pid file; else zookeeper_server.pid in dataDir
#   ZOO_LOG_FILE                    name of the log file; else zookeeper-$USER-server-$HOSTNAME.log
#   ZOO_LOG4J_PROP                  level, and where to: INFO,CONSOLE or INFO,ROLLINGFILE
#   ZOO_DATADIR_AUTOCREATE_DISABLE  not empty: fail unless the data directories exist
#   ZOO_NOEXEC                      not empty: start-foreground stays the server's parent

ZOOBIN="$(readlink -f "${BASH_SOURCE[0]}")"
ZOOBINDIR="$(cd "$(dirname "$ZOOBIN")" && pwd)"

if [ -e "$ZOOBINDIR/../libexec/zkEnv.sh" ]; then
  . "$ZOOBINDIR/../libexec/zkEnv.sh"
else
  . "$ZOOBINDIR/zkEnv.sh"
fi

case "$2" in
  "") ;;
  */*) ZOOCFG="$2" ;;
  *) ZOOCFG="$ZOOCFGDIR/$2" ;;
esac

if [ -n "$JMXPORT" ]; then
  echo "JMXPORT is ignored: there is no JVM, and so no JMX" >&2
fi
echo "Using config: $ZOOCFG" >&2

ZOO_LOG_FILE="${ZOO_LOG_FILE:-zookeeper-$USER-server-$HOSTNAME.log}"
ZOO_DAEMON_OUT="$ZOO_LOG_DIR/zookeeper-$USER-server-$HOSTNAME.out"

# Sets SERVER_WORDS, the arguments of the program.
set_words() {
  SERVER_WORDS=(server)
  if [ -n "$ZOO_DATADIR_AUTOCREATE_DISABLE" ]; then
    SERVER_WORDS+=("-Dzookeeper.datadir.autocreate=false")
  fi
  SERVER_WORDS+=("-Dzookeeper.log.dir=$ZOO_LOG_DIR" "-Dzookeeper.log.file=$ZOO_LOG_FILE" "$ZOOCFG")
}

# Sets ZOO_DATADIR and ZOOPIDFILE; without a configuration there is nothing to do.
read_config() {
  if [ ! -r "$ZOOCFG" ]; then
    echo "Error: there is no configuration file $ZOOCFG" >&2
    exit 1
  fi
  ZOO_DATADIR="$(setting dataDir "$ZOOCFG")"
  if [ -z "$ZOO_DATADIR" ] && [ -z "$ZOOPIDFILE" ]; then
    echo "Error: dataDir is not set in $ZOOCFG" >&2
    exit 1
  fi
  ZOOPIDFILE="${ZOOPIDFILE:-$ZOO_DATADIR/zookeeper_server.pid}"
}

# Makes the directories that a start needs; with autocreate disabled those of the data must exist.
prepare_directories() {
  local datalogdir
  datalogdir="$(setting dataLogDir "$ZOOCFG")"
  if [ -n "$ZOO_DATADIR_AUTOCREATE_DISABLE" ]; then
    if [ ! -d "$ZOO_DATADIR/version-2" ]; then
      echo "ZooKeeper data directory is missing at $ZOO_DATADIR fix the path or run initialize"
      exit 1
    fi
    if [ -n "$datalogdir" ] && [ ! -d "$datalogdir/version-2" ]; then
      echo "ZooKeeper txnlog directory is missing at $datalogdir fix the path or run initialize"
      exit 1
    fi
  fi
  mkdir -p "$(dirname "$ZOOPIDFILE")"
  [ -w "$ZOO_LOG_DIR" ] || mkdir -p "$ZOO_LOG_DIR"
}

# Whether a process runs. One that has ended may still be listed: in a container its parent may
# never ask for it.
runs() { # PID
  kill -0 "$1" 2> /dev/null && ! grep -q ') Z ' "/proc/$1/stat" 2> /dev/null
}

# Whether a process runs for a second, which one with a wrong configuration does not.
lives() { # PID
  local _
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    sleep 0.1
    runs "$1" || return 1
  done
}

start() {
  read_config
  prepare_directories
  build_ironkeeper
  set_words
  echo -n "Starting zookeeper ... "
  if [ -f "$ZOOPIDFILE" ] && runs "$(cat "$ZOOPIDFILE")"; then
    echo "already running as process $(cat "$ZOOPIDFILE")."
    exit 1
  fi
  nohup "$IRONKEEPER" "${SERVER_WORDS[@]}" > "$ZOO_DAEMON_OUT" 2>&1 < /dev/null &
  local pid=$!
  if ! echo -n "$pid" > "$ZOOPIDFILE"; then
    echo "FAILED TO WRITE PID"
    exit 1
  fi
  if lives "$pid"; then
    echo "STARTED"
  else
    echo "FAILED TO START"
    tail -n 5 "$ZOO_DAEMON_OUT" >&2
    exit 1
  fi
}

stop() {
  read_config
  echo -n "Stopping zookeeper ... "
  if [ ! -f "$ZOOPIDFILE" ]; then
    echo "no zookeeper to stop (could not find file $ZOOPIDFILE)"
    return
  fi
  local pid tries
  pid="$(cat "$ZOOPIDFILE")"
  kill "$pid"
  rm "$ZOOPIDFILE"
  for ((tries = 0; tries < 200; tries++)); do
    if ! runs "$pid"; then
      echo "STOPPED"
      return
    fi
    sleep 0.05
  done
  echo "process $pid is still stopping"
}

# Sets CLIENT_PORT, CLIENT_ADDRESS and CLIENT_SSL: from the static file, from this server's own
# line of the membership, or else the TLS port.
find_client_port() {
  CLIENT_SSL=false
  CLIENT_ADDRESS="$(setting clientPortAddress "$ZOOCFG")"
  CLIENT_PORT="$(setting clientPort "$ZOOCFG")"
  [[ "$CLIENT_PORT" =~ ^[0-9]+$ ]] || find_own_line
  if [ -z "$CLIENT_PORT" ]; then
    echo "Client port not found. Looking for secureClientPort in the static config."
    CLIENT_PORT="$(setting secureClientPort "$ZOOCFG")"
    CLIENT_ADDRESS="$(setting secureClientPortAddress "$ZOOCFG")"
    CLIENT_SSL=true
    if [ -z "$CLIENT_PORT" ]; then
      echo "Unable to find either secure or unsecure client port in any configs. Terminating."
      exit 1
    fi
  fi
  CLIENT_ADDRESS="${CLIENT_ADDRESS:-localhost}"
}

# The client address after the semicolon of line server.<myid>.
find_own_line() {
  local myid client
  myid="$(cat "$ZOO_DATADIR/myid" 2> /dev/null)"
  if ! [[ "$myid" =~ ^[0-9]+$ ]]; then
    echo "myid could not be determined, will not able to locate clientPort in the server configs."
    return
  fi
  client="$(client_part "$myid" "$ZOOCFG")"
  if [ -z "$client" ]; then
    echo "Client port not found in static config file. Looking in dynamic config file."
    client="$(client_part "$myid" "$(setting dynamicConfigFile "$ZOOCFG")")"
  fi
  if [ -z "$client" ]; then
    echo "Client port not found in the server configs"
    return
  fi
  CLIENT_PORT="${client##*:}"
  if [[ "$client" == *:* ]]; then
    CLIENT_ADDRESS="${client%:*}"
    CLIENT_ADDRESS="${CLIENT_ADDRESS//[\[\]]/}"
  fi
}

client_part() { # MYID FILE
  setting "server.$1" "$2" | sed -n -e 's/.*;[[:space:]]*//p'
}

status() {
  read_config
  require_ironkeeper
  find_client_port
  echo "Client port found: $CLIENT_PORT. Client address: $CLIENT_ADDRESS. \
Client SSL: $CLIENT_SSL."
  local mode
  mode="$("$IRONKEEPER" 4lw "$CLIENT_ADDRESS" "$CLIENT_PORT" srvr 2> /dev/null | grep Mode)"
  if [ -z "$mode" ]; then
    if [ "$CLIENT_SSL" = true ]; then
      echo "Note: only secureClientPort is configured, and the question was put in plain text."
    fi
    echo "Error contacting service. It is probably not running."
    exit 1
  fi
  echo "$mode"
}

case "$1" in
  start)
    start
    ;;
  start-foreground)
    read_config
    prepare_directories
    build_ironkeeper
    set_words
    if [ -n "$ZOO_NOEXEC" ]; then
      "$IRONKEEPER" "${SERVER_WORDS[@]}"
    else
      exec "$IRONKEEPER" "${SERVER_WORDS[@]}"
    fi
    ;;
  stop)
    stop
    exit 0
    ;;
  version)
    require_ironkeeper
    "$IRONKEEPER" version
    ;;
  restart)
    stop
    start
    ;;
  status)
    status
    ;;
  print-cmd)
    require_ironkeeper
    set_words
    printf 'SERVER_JVMFLAGS="%s" JVMFLAGS="%s" "%s"' "$SERVER_JVMFLAGS" "$JVMFLAGS" "$IRONKEEPER"
    printf ' "%s"' "${SERVER_WORDS[@]}"
    printf ' > "%s" 2>&1 < /dev/null\n' "$ZOO_DAEMON_OUT"
    ;;
  *)
    echo "Usage: $0 [--config <conf-dir>] \
{start|start-foreground|stop|version|restart|status|print-cmd}" >&2
    ;;
esac
