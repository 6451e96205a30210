#!/usr/bin/env bash
# Writes zoo.cfg and myid from the environment, unless they are there already, and runs the command
# it is given. What it heeds, beside what bin/zkEnv.sh lists (JVMFLAGS, ZOO_LOG4J_PROP, …):
#   ZOO_MY_ID    this server's number; else 1
#   ZOO_SERVERS  lines of the membership, with blanks between them:
#                server.1=zoo1:2888:3888;2181 server.2=…; else this server on its own
#   ZOO_TICK_TIME ZOO_INIT_LIMIT ZOO_SYNC_LIMIT ZOO_MAX_CLIENT_CNXNS ZOO_STANDALONE_ENABLED
#   ZOO_ADMINSERVER_ENABLED ZOO_AUTOPURGE_PURGEINTERVAL ZOO_AUTOPURGE_SNAPRETAINCOUNT
#   ZOO_4LW_COMMANDS_WHITELIST
#   ZOO_CFG_EXTRA  more lines of zoo.cfg, with blanks between them: key=value key=value
#   ZOO_CONF_DIR ZOO_DATA_DIR ZOO_DATA_LOG_DIR ZOO_LOG_DIR  where things are; see the Dockerfile
set -euo pipefail

# As root, which is how a container starts unless told otherwise (--user): hands the directories
# over, which may be mounted from the host, and goes on as zookeeper.
if [[ $1 == zkServer.sh && $(id -u) == 0 ]]; then
  chown -R zookeeper "$ZOO_DATA_DIR" "$ZOO_DATA_LOG_DIR" "$ZOO_LOG_DIR" "$ZOO_CONF_DIR"
  exec setpriv --reuid=zookeeper --regid=zookeeper --init-groups "$0" "$@"
fi

write_config() {
  echo "dataDir=$ZOO_DATA_DIR"
  echo "dataLogDir=$ZOO_DATA_LOG_DIR"
  echo "tickTime=$ZOO_TICK_TIME"
  echo "initLimit=$ZOO_INIT_LIMIT"
  echo "syncLimit=$ZOO_SYNC_LIMIT"
  echo "autopurge.snapRetainCount=$ZOO_AUTOPURGE_SNAPRETAINCOUNT"
  echo "autopurge.purgeInterval=$ZOO_AUTOPURGE_PURGEINTERVAL"
  echo "maxClientCnxns=$ZOO_MAX_CLIENT_CNXNS"
  echo "standaloneEnabled=$ZOO_STANDALONE_ENABLED"
  echo "admin.enableServer=$ZOO_ADMINSERVER_ENABLED"
  if [[ -n ${ZOO_4LW_COMMANDS_WHITELIST:-} ]]; then
    echo "4lw.commands.whitelist=$ZOO_4LW_COMMANDS_WHITELIST"
  fi
  # Without quotes: the blanks separate lines.
  local line servers=${ZOO_SERVERS:-}
  for line in ${servers:-server.1=localhost:2888:3888;2181} ${ZOO_CFG_EXTRA:-}; do
    echo "$line"
  done
}

[[ -f $ZOO_CONF_DIR/zoo.cfg ]] || write_config > "$ZOO_CONF_DIR/zoo.cfg"
[[ -f $ZOO_DATA_DIR/myid ]] || echo "${ZOO_MY_ID:-1}" > "$ZOO_DATA_DIR/myid"

exec "$@"
