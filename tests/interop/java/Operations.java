import static org.apache.zookeeper.CreateMode.*;
import static org.apache.zookeeper.ZooDefs.Ids.*;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.AsyncCallback;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.OpResult;
import org.apache.zookeeper.StatsTrack;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.ZooDefs;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.admin.ZooKeeperAdmin;
import org.apache.zookeeper.data.ACL;
import org.apache.zookeeper.data.Id;
import org.apache.zookeeper.data.Stat;

/**
 * Every operation of Apache's Java client against one fresh server, as a transcript on standard
 * output. What differs from run to run (times, session ids) is not printed, so two servers that
 * behave alike give the same text. Argument: HOST:PORT.
 */
public final class Operations {
    private static final int TIMEOUT = 30000;
    private static String address;
    private static ZooKeeper zk;

    private interface Call {
        Object run() throws Exception;
    }

    /** Collects events; the transcript takes them one by one. */
    private static final class Events implements Watcher {
        private final BlockingQueue<WatchedEvent> queue = new LinkedBlockingQueue<>();

        @Override
        public void process(WatchedEvent event) {
            queue.add(event);
        }

        String next() throws InterruptedException {
            WatchedEvent event = queue.poll(10, TimeUnit.SECONDS);
            return event == null ? "no event" : show(event);
        }

        String rest() {
            List<String> all = new ArrayList<>();
            for (WatchedEvent e; (e = queue.poll()) != null; ) {
                all.add(show(e));
            }
            return all.toString();
        }

        private static String show(WatchedEvent e) {
            String zxid = e.getZxid() == WatchedEvent.NO_ZXID ? "" : " zxid " + e.getZxid();
            return e.getType() + " " + e.getState() + " " + e.getPath() + zxid;
        }
    }

    public static void main(String[] args) throws Exception {
        address = args[0];
        zk = connect(new Events());
        creates();
        reads();
        writes();
        accessControl();
        multis();
        multiReads();
        oneShotWatches();
        persistentWatches();
        watchRemoval();
        asynchronous();
        quotas();
        sessions();
        reconfiguration();
        zk.close();
    }

    private static ZooKeeper connect(Events events) throws Exception {
        ZooKeeper client = new ZooKeeper(address, TIMEOUT, events);
        say("connect", events.next());
        return client;
    }

    private static void say(String what, Object result) {
        System.out.println(what + " -> " + result);
    }

    private static void section(String name) {
        System.out.println("\n== " + name);
    }

    /** Runs a call and prints its result or the error's name and path. */
    private static void attempt(String what, Call call) throws Exception {
        try {
            say(what, call.run());
        } catch (KeeperException e) {
            say(what, e.code() + " " + e.getPath());
        } catch (IllegalArgumentException e) {
            say(what, e);
        }
    }

    private static byte[] bytes(String s) {
        return s == null ? null : s.getBytes(StandardCharsets.UTF_8);
    }

    /** Waits until every event that the server sent before now has been handed to its watcher. */
    private static void settle() throws Exception {
        CountDownLatch reached = new CountDownLatch(1);
        zk.exists("/", false, (rc, path, ctx, stat) -> reached.countDown(), null);
        reached.await(10, TimeUnit.SECONDS);
    }

    /** Identities have no order. */
    private static String whoAmI() throws Exception {
        List<String> names = new ArrayList<>();
        zk.whoAmI().forEach(i -> names.add(i.getAuthScheme() + ":" + i.getUser()));
        return sorted(names).toString();
    }

    private static String text(byte[] data) {
        return data == null ? "null" : "'" + new String(data, StandardCharsets.UTF_8) + "'";
    }

    private static String show(Stat s) {
        if (s == null) {
            return "no stat";
        }
        long owner = s.getEphemeralOwner();
        String held = owner == zk.getSessionId() ? "mine"
                : owner < 0 ? "special " + Long.toHexString(owner) : owner == 0 ? "none" : "other";
        return "czxid=" + s.getCzxid() + " mzxid=" + s.getMzxid() + " pzxid=" + s.getPzxid()
                + " version=" + s.getVersion() + " cversion=" + s.getCversion()
                + " aversion=" + s.getAversion() + " owner=" + held
                + " length=" + s.getDataLength() + " children=" + s.getNumChildren()
                + " modified=" + (s.getMzxid() != s.getCzxid())
                + " times=" + (s.getMtime() >= s.getCtime());
    }

    private static List<String> sorted(List<String> names) {
        List<String> copy = new ArrayList<>(names);
        Collections.sort(copy);
        return copy;
    }

    private static String make(String path, String data, org.apache.zookeeper.CreateMode mode)
            throws Exception {
        return make(path, data, OPEN_ACL_UNSAFE, mode, -1);
    }

    private static String make(String path, String data, List<ACL> acl,
            org.apache.zookeeper.CreateMode mode, long ttl) throws Exception {
        Stat stat = new Stat();
        String made = mode.isTTL()
                ? zk.create(path, bytes(data), acl, mode, stat, ttl)
                : zk.create(path, bytes(data), acl, mode, stat);
        return made + " " + show(stat);
    }

    private static void creates() throws Exception {
        section("create");
        attempt("persistent", () -> make("/c", "data", PERSISTENT));
        attempt("without stat", () -> zk.create("/c/x", bytes("x"), OPEN_ACL_UNSAFE, PERSISTENT));
        attempt("null data", () -> make("/c/null", null, PERSISTENT));
        attempt("empty data", () -> make("/c/empty", "", PERSISTENT));
        attempt("sequential", () -> make("/c/s-", "", PERSISTENT_SEQUENTIAL));
        attempt("ephemeral", () -> make("/c/e", "", EPHEMERAL));
        attempt("ephemeral sequential", () -> make("/c/es-", "", EPHEMERAL_SEQUENTIAL));
        attempt("container", () -> make("/c/box", "", CONTAINER));
        attempt("ttl", () -> make("/c/t", "", OPEN_ACL_UNSAFE, PERSISTENT_WITH_TTL, 600000));
        attempt("ttl sequential",
                () -> make("/c/t-", "", OPEN_ACL_UNSAFE, PERSISTENT_SEQUENTIAL_WITH_TTL, 600000));
        attempt("exists", () -> make("/c", "", PERSISTENT));
        attempt("no parent", () -> make("/none/x", "", PERSISTENT));
        attempt("below ephemeral", () -> make("/c/e/x", "", PERSISTENT));
        attempt("bad path", () -> make("c", "", PERSISTENT));
        attempt("no acl", () -> make("/c/a", "", new ArrayList<>(), PERSISTENT, -1));
        attempt("auth acl without auth", () -> make("/c/a", "", CREATOR_ALL_ACL, PERSISTENT, -1));
        attempt("in the config node", () -> make("/zookeeper/config/x", "", PERSISTENT));
        attempt("large", () -> make("/c/large", "x".repeat(500000), PERSISTENT));
        attempt("other letters", () -> make("/c/\u00fc\u4e16", "\u4e16", PERSISTENT));
    }

    private static void reads() throws Exception {
        section("read");
        Stat stat = new Stat();
        attempt("getData", () -> text(zk.getData("/c", false, stat)) + " " + show(stat));
        attempt("getData null", () -> text(zk.getData("/c/null", false, null)));
        attempt("getData empty", () -> text(zk.getData("/c/empty", false, null)));
        attempt("getData none", () -> zk.getData("/none", false, null));
        attempt("exists", () -> show(zk.exists("/c", false)));
        attempt("exists none", () -> show(zk.exists("/none", false)));
        attempt("exists root", () -> show(zk.exists("/", false)));
        attempt("ephemeral", () -> show(zk.exists("/c/e", false)));
        attempt("container", () -> show(zk.exists("/c/box", false)));
        attempt("ttl", () -> show(zk.exists("/c/t", false)));
        attempt("getChildren", () -> sorted(zk.getChildren("/c", false)));
        attempt("getChildren stat", () -> sorted(zk.getChildren("/c", false, stat)) + show(stat));
        attempt("getChildren none", () -> zk.getChildren("/none", false));
        attempt("root", () -> sorted(zk.getChildren("/", false)));
        attempt("/zookeeper", () -> sorted(zk.getChildren("/zookeeper", false)));
        attempt("getAllChildrenNumber", () -> zk.getAllChildrenNumber("/c"));
        attempt("getAllChildrenNumber root", () -> zk.getAllChildrenNumber("/"));
        attempt("getAllChildrenNumber none", () -> zk.getAllChildrenNumber("/none"));
        attempt("getEphemerals", () -> sorted(zk.getEphemerals()));
        attempt("getEphemerals below", () -> sorted(zk.getEphemerals("/c/e")));
        attempt("getEphemerals none", () -> zk.getEphemerals("/none"));
        attempt("whoAmI", Operations::whoAmI);
        attempt("config", () -> text(zk.getConfig(false, stat)) + " version " + stat.getVersion());
        attempt("getACL", () -> zk.getACL("/c", stat) + show(stat));
        attempt("getACL of config", () -> zk.getACL("/zookeeper/config", null));
        CountDownLatch synced = new CountDownLatch(1);
        zk.sync("/c", (rc, path, ctx) -> {
            say("sync", rc + " " + path);
            synced.countDown();
        }, null);
        synced.await(10, TimeUnit.SECONDS);
    }

    private static void writes() throws Exception {
        section("write");
        attempt("setData", () -> show(zk.setData("/c", bytes("1"), 0)));
        attempt("setData any", () -> show(zk.setData("/c", bytes("22"), -1)));
        attempt("setData null", () -> show(zk.setData("/c", null, -1)));
        attempt("setData version", () -> show(zk.setData("/c", bytes("x"), 7)));
        attempt("setData none", () -> show(zk.setData("/none", bytes("x"), -1)));
        attempt("setData root", () -> show(zk.setData("/", bytes("root"), -1)));
        attempt("delete version", () -> {
            zk.delete("/c/x", 3);
            return "done";
        });
        attempt("delete", () -> {
            zk.delete("/c/x", 0);
            return show(zk.exists("/c", false));
        });
        attempt("delete none", () -> {
            zk.delete("/c/x", -1);
            return "done";
        });
        attempt("delete with children", () -> {
            zk.delete("/c", -1);
            return "done";
        });
        attempt("sequence goes on", () -> make("/c/s-", "", PERSISTENT_SEQUENTIAL));
    }

    private static void accessControl() throws Exception {
        section("access control");
        List<ACL> readOnly = Arrays.asList(new ACL(ZooDefs.Perms.READ, ANYONE_ID_UNSAFE));
        List<ACL> local = Arrays.asList(new ACL(ZooDefs.Perms.ALL, new Id("ip", "127.0.0.1")));
        List<ACL> else_ = Arrays.asList(new ACL(ZooDefs.Perms.ALL, new Id("ip", "10.0.0.0/8")));
        attempt("read only", () -> make("/ro", "x", readOnly, PERSISTENT, -1));
        attempt("set read only", () -> show(zk.setData("/ro", bytes("y"), -1)));
        attempt("create below", () -> make("/ro/x", "x", PERSISTENT));
        attempt("setACL", () -> show(zk.setACL("/ro", OPEN_ACL_UNSAFE, -1)));
        attempt("ip", () -> make("/ip", "x", local, PERSISTENT, -1));
        attempt("ip reads", () -> text(zk.getData("/ip", false, null)));
        attempt("other ip", () -> make("/otherip", "x", else_, PERSISTENT, -1));
        attempt("other ip reads", () -> text(zk.getData("/otherip", false, null)));
        zk.addAuthInfo("digest", bytes("alice:secret"));
        attempt("whoAmI", Operations::whoAmI);
        attempt("creator all", () -> make("/mine", "x", CREATOR_ALL_ACL, PERSISTENT, -1));
        attempt("getACL", () -> zk.getACL("/mine", null));
        ZooKeeper mine = zk;
        zk = connect(new Events());
        attempt("stranger reads", () -> text(zk.getData("/mine", false, null)));
        attempt("stranger's getACL", () -> zk.getACL("/mine", null));
        attempt("stranger exists", () -> show(zk.exists("/mine", false)));
        attempt("stranger's children", () -> zk.getChildren("/mine", false));
        zk.addAuthInfo("digest", bytes("super:test"));
        attempt("super reads", () -> text(zk.getData("/mine", false, null)));
        attempt("setACL version", () -> show(zk.setACL("/mine", OPEN_ACL_UNSAFE, 5)));
        attempt("setACL", () -> show(zk.setACL("/mine", OPEN_ACL_UNSAFE, 0)));
        zk.close();
        zk = mine;
        attempt("unknown scheme", () -> make("/x", "", Arrays.asList(
                new ACL(ZooDefs.Perms.ALL, new Id("nope", "x"))), PERSISTENT, -1));
        Events events = new Events();
        ZooKeeper failing = connect(events);
        failing.addAuthInfo("nope", bytes("x"));
        say("auth of unknown scheme", events.next());
        failing.close();
    }

    private static String show(List<OpResult> results) {
        StringBuilder out = new StringBuilder();
        for (OpResult r : results) {
            out.append("\n   ").append(r.getType()).append(' ');
            if (r instanceof OpResult.ErrorResult) {
                out.append("error ").append(((OpResult.ErrorResult) r).getErr());
            } else if (r instanceof OpResult.CreateResult) {
                OpResult.CreateResult c = (OpResult.CreateResult) r;
                out.append(c.getPath()).append(' ').append(show(c.getStat()));
            } else if (r instanceof OpResult.SetDataResult) {
                out.append(show(((OpResult.SetDataResult) r).getStat()));
            } else if (r instanceof OpResult.GetDataResult) {
                OpResult.GetDataResult g = (OpResult.GetDataResult) r;
                out.append(text(g.getData())).append(' ').append(show(g.getStat()));
            } else if (r instanceof OpResult.GetChildrenResult) {
                out.append(sorted(((OpResult.GetChildrenResult) r).getChildren()));
            }
        }
        return out.toString();
    }

    private static Object multi(Op... operations) throws Exception {
        try {
            return show(zk.multi(Arrays.asList(operations)));
        } catch (KeeperException e) {
            return e.code() + " " + e.getPath()
                    + (e.getResults() == null ? " no results" : show(e.getResults()));
        }
    }

    private static void multis() throws Exception {
        section("multi");
        attempt("all kinds", () -> multi(
                Op.create("/m", bytes("m"), OPEN_ACL_UNSAFE, PERSISTENT),
                Op.create("/m/e", bytes("e"), OPEN_ACL_UNSAFE, EPHEMERAL),
                Op.create("/m/s-", null, OPEN_ACL_UNSAFE, PERSISTENT_SEQUENTIAL),
                Op.create("/m/box", null, OPEN_ACL_UNSAFE, CONTAINER),
                Op.create("/m/t", null, OPEN_ACL_UNSAFE, PERSISTENT_WITH_TTL, 60000),
                Op.check("/m", 0),
                Op.setData("/m", bytes("mm"), 0),
                Op.check("/m", 1),
                Op.delete("/m/e", -1)));
        attempt("failing last", () -> multi(Op.delete("/m/box", -1), Op.check("/m", 9)));
        attempt("failing first", () -> multi(Op.check("/m", 9), Op.delete("/m/box", -1)));
        attempt("failing in the middle", () -> multi(Op.setData("/m", bytes("z"), -1),
                Op.create("/none/x", null, OPEN_ACL_UNSAFE, PERSISTENT),
                Op.setData("/m", bytes("y"), -1)));
        attempt("nothing", () -> multi());
        attempt("unchanged", () -> text(zk.getData("/m", false, null)));
        attempt("transaction", () -> show(zk.transaction().create("/m/tr", bytes("1"),
                OPEN_ACL_UNSAFE, PERSISTENT).setData("/m/tr", bytes("2"), 0).commit()));
    }

    private static void multiReads() throws Exception {
        section("multi of reads");
        attempt("both kinds", () -> multi(Op.getData("/m"), Op.getChildren("/m")));
        attempt("some fail", () -> multi(Op.getData("/none"), Op.getChildren("/m"),
                Op.getChildren("/none"), Op.getData("/m")));
        attempt("forbidden", () -> multi(Op.getData("/otherip"), Op.getData("/m")));
    }

    private static void oneShotWatches() throws Exception {
        section("watches");
        Events events = new Events();
        zk.exists("/w", events);
        attempt("create", () -> make("/w", "", PERSISTENT));
        say("event", events.next());
        zk.getData("/w", events, null);
        zk.setData("/w", bytes("1"), -1);
        say("event", events.next());
        zk.setData("/w", bytes("2"), -1);
        zk.getChildren("/w", events);
        make("/w/c", "", PERSISTENT);
        say("event", events.next());
        zk.getChildren("/w", events);
        zk.delete("/w/c", -1);
        say("event", events.next());
        zk.getData("/w", events, null);
        zk.exists("/w", events);
        zk.getChildren("/w", events);
        zk.delete("/w", -1);
        say("event", events.next());
        settle();
        say("rest", events.rest());
        attempt("watch on none", () -> zk.getData("/w", events, null));
        make("/w", "", PERSISTENT);
        settle();
        say("rest", events.rest());
    }

    private static void persistentWatches() throws Exception {
        section("persistent watches");
        for (AddWatchMode mode : AddWatchMode.values()) {
            Events events = new Events();
            zk.addWatch("/p", events, mode);
            make("/p", "", PERSISTENT);
            make("/p/c", "", PERSISTENT);
            make("/p/c/d", "", PERSISTENT);
            zk.setData("/p", bytes("1"), -1);
            zk.setData("/p/c/d", bytes("1"), -1);
            zk.multi(Arrays.asList(Op.delete("/p/c/d", -1), Op.delete("/p/c", -1)));
            zk.delete("/p", -1);
            for (int n = mode == AddWatchMode.PERSISTENT ? 5 : 8; n > 0; n--) {
                say(mode.toString(), events.next());
            }
            settle();
            say("rest", events.rest());
        }
    }

    private static void watchRemoval() throws Exception {
        section("removal of watches");
        Events data = new Events();
        Events child = new Events();
        Events persistent = new Events();
        make("/r", "", PERSISTENT);
        zk.getData("/r", data, null);
        zk.getChildren("/r", child);
        zk.addWatch("/r", persistent, AddWatchMode.PERSISTENT);
        attempt("data by child's watcher", () -> {
            zk.removeWatches("/r", child, Watcher.WatcherType.Data, false);
            return "done";
        });
        attempt("data", () -> {
            zk.removeWatches("/r", data, Watcher.WatcherType.Data, false);
            return data.next();
        });
        attempt("all", () -> {
            zk.removeAllWatches("/r", Watcher.WatcherType.Any, false);
            return child.next() + ", " + persistent.next();
        });
        attempt("none left", () -> {
            zk.removeAllWatches("/r", Watcher.WatcherType.Any, false);
            return "done";
        });
        zk.setData("/r", bytes("1"), -1);
        settle();
        say("rest", data.rest() + child.rest() + persistent.rest());
    }

    private static void asynchronous() throws Exception {
        section("a thousand at once, in order");
        make("/async", "", PERSISTENT);
        int count = 1000;
        CountDownLatch done = new CountDownLatch(2 * count);
        List<String> answers = Collections.synchronizedList(new ArrayList<>());
        AsyncCallback.StatCallback onSet = (rc, path, ctx, stat) -> {
            answers.add("s" + ctx + "v" + stat.getVersion());
            done.countDown();
        };
        AsyncCallback.DataCallback onGet = (rc, path, ctx, data, stat) -> {
            answers.add("g" + ctx + text(data) + "v" + stat.getVersion());
            done.countDown();
        };
        for (int n = 0; n < count; n++) {
            zk.setData("/async", bytes("" + n), -1, onSet, n);
            zk.getData("/async", false, onGet, n);
        }
        done.await(30, TimeUnit.SECONDS);
        for (int n = 0; n < count; n++) {
            String set = answers.get(2 * n);
            String get = answers.get(2 * n + 1);
            if (!set.equals("s" + n + "v" + (n + 1))
                    || !get.equals("g" + n + "'" + n + "'v" + (n + 1))) {
                say("out of order", set + " " + get);
            }
        }
    }

    private static void quotas() throws Exception {
        section("quotas");
        String below = "/zookeeper/quota/q";
        make("/q", "12345", PERSISTENT);
        make(below, "", PERSISTENT);
        StatsTrack limits = new StatsTrack();
        limits.setCount(3);
        limits.setBytes(20);
        limits.setCountHardLimit(4);
        limits.setByteHardLimit(30);
        make(below + "/zookeeper_limits", limits.toString(), PERSISTENT);
        make(below + "/zookeeper_stats", "count=1,bytes=5", PERSISTENT);
        for (int n = 0; n < 5; n++) {
            String path = "/q/" + n;
            attempt("node " + n, () -> make(path, "1234567", PERSISTENT));
        }
        attempt("large", () -> show(zk.setData("/q", bytes("x".repeat(100)), -1)));
        attempt("stats", () -> text(zk.getData(below + "/zookeeper_stats", false, null)));
    }

    private static void sessions() throws Exception {
        section("sessions");
        Events events = new Events();
        ZooKeeper first = connect(events);
        first.create("/session", bytes("x"), OPEN_ACL_UNSAFE, EPHEMERAL);
        say("timeout", first.getSessionTimeout());
        Events taken = new Events();
        ZooKeeper second = new ZooKeeper(address, TIMEOUT, taken, first.getSessionId(),
                first.getSessionPasswd());
        say("taken over", taken.next() + " same "
                + (second.getSessionId() == first.getSessionId()));
        attempt("its ephemerals", () -> second.getEphemerals());
        second.close();
        first.close();
        attempt("gone with it", () -> show(zk.exists("/session", false)));
        Events expired = new Events();
        ZooKeeper third = new ZooKeeper(address, TIMEOUT, expired, second.getSessionId(),
                second.getSessionPasswd());
        say("closed session", expired.next());
        third.close();
        for (int timeout : new int[] {2000, 10000, 100000}) {
            Events e = new Events();
            ZooKeeper client = new ZooKeeper(address, timeout, e);
            say("timeout " + timeout, e.next() + " " + client.getSessionTimeout());
            client.close();
        }
    }

    private static void reconfiguration() throws Exception {
        section("reconfig");
        Events events = new Events();
        try (ZooKeeperAdmin admin = new ZooKeeperAdmin(address, TIMEOUT, events)) {
            say("connect", events.next());
            attempt("without rights", () -> admin.reconfigure(
                    "server.5=127.0.0.1:1:2;3", null, null, -1, null));
            admin.addAuthInfo("digest", bytes("super:test"));
            attempt("super", () -> admin.reconfigure(
                    "server.5=127.0.0.1:1:2;3", null, null, -1, null));
        }
    }
}
