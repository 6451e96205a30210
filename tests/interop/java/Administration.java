import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.apache.zookeeper.AsyncCallback.DataCallback;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.admin.ZooKeeperAdmin;
import org.apache.zookeeper.data.Stat;

/**
 * ZooKeeperAdmin against an ensemble of servers 1 to 3, of which 3 leads; 4 runs, and is no member
 * yet. A transcript; only ports, versions and times differ from run to run. Arguments: the client
 * addresses of the three, separated by commas; the four lines server.N=… of the membership.
 */
public final class Administration {
    private static final int TIMEOUT = 30000;
    private static ZooKeeperAdmin admin;
    private static final Events EVENTS = new Events();

    private interface Change {
        byte[] run(Stat stat) throws Exception;
    }

    /** Collects events; the transcript takes them one by one. */
    private static final class Events implements Watcher {
        private final BlockingQueue<WatchedEvent> queue = new LinkedBlockingQueue<>();

        @Override
        public void process(WatchedEvent event) {
            queue.add(event);
        }

        String next() throws InterruptedException {
            WatchedEvent event = queue.poll(20, TimeUnit.SECONDS);
            return event == null ? "no event"
                    : event.getType() + " " + event.getState() + " " + event.getPath();
        }
    }

    public static void main(String[] args) throws Exception {
        String[] servers = args[0].split(",");
        String four = args[4];
        String all = String.join(",", args[1], args[2], args[3]);
        admin = new ZooKeeperAdmin(args[0], TIMEOUT, EVENTS);
        say("connected", EVENTS.next());
        change("without rights", stat -> admin.reconfigure(four, null, null, -1, stat));
        admin.addAuthInfo("digest", "super:test".getBytes(StandardCharsets.UTF_8));

        Events config = new Events();
        change("the configuration", stat -> admin.getConfig(config, stat));
        change("one joins", stat -> admin.reconfigure(List.of(four), null, null, -1, stat));
        say("watch", config.next());
        long version = version();
        change("two steps", stat ->
                admin.reconfigure(List.of(four), List.of("2"), null, version, stat));
        change("that version is over", stat ->
                admin.reconfigure(null, List.of("1"), null, version, stat));
        change("by list", stat -> admin.reconfigure(null, null,
                List.of(args[1], args[2], args[3], four.replace("participant", "observer")),
                -1, stat));
        change("nothing", stat -> admin.reconfigure((String) null, null, null, -1, stat));
        change("empty", stat -> admin.reconfigure("", "", null, -1, stat));
        change("an empty list", stat -> admin.reconfigure(null, null, "", -1, stat));
        change("list and steps", stat -> admin.reconfigure(four, "2", all, -1, stat));
        change("nobody stays", stat -> admin.reconfigure(null, "1,2,3", null, -1, stat));
        change("without a stat", stat -> admin.reconfigure(null, "4", null, -1, null));
        asynchronous("in time", four, null, -1);
        asynchronous("too late", null, "4", 1);
        asynchronous("no id", null, "four", -1);
        asynchronous("leaves", null, "4", version());
        elsewhere(servers);
        admin.close();
    }

    /** The server that the client is connected to leaves; the client is told of the others. */
    private static void elsewhere(String[] servers) throws Exception {
        try (ZooKeeper client = new ZooKeeper(servers[0], TIMEOUT, new Events())) {
            client.create("/mine", null, Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);
            long session = client.getSessionId();
            change("the first leaves", stat -> admin.reconfigure(null, "1", null, -1, stat));
            client.updateServerList(servers[1] + "," + servers[2]);
            String now = "";
            for (long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(20);
                    !now.endsWith(":" + port(servers[1])) && !now.endsWith(":" + port(servers[2]))
                    && System.nanoTime() < end; Thread.sleep(10)) {
                now = client.toString().replaceAll(".*remoteserver:(\\S+) .*", "$1");
            }
            client.setData("/mine", new byte[1], -1);
            boolean kept = client.exists("/mine", false).getEphemeralOwner() == session
                    && client.getSessionId() == session;
            say("moved on", kept ? "with its session" : "without its session");
        }
    }

    private static String port(String address) {
        return address.substring(address.lastIndexOf(':') + 1);
    }

    private static long version() throws Exception {
        String text = new String(admin.getConfig(false, null), StandardCharsets.UTF_8);
        return Long.parseLong(text.substring(text.lastIndexOf('=') + 1), 16);
    }

    private static void change(String title, Change change) throws Exception {
        Stat stat = new Stat();
        try {
            String text = new String(change.run(stat), StandardCharsets.UTF_8);
            say(title, text + "\n" + show(stat));
        } catch (KeeperException e) {
            say(title, e.code() + " " + e.getPath());
        }
    }

    private static void asynchronous(String title, String joining, String leaving, long version)
            throws Exception {
        CompletableFuture<String> done = new CompletableFuture<>();
        DataCallback callback = (rc, path, context, data, stat) -> done.complete(rc + " " + path
                + " " + context + "\n" + (data == null ? null : new String(data))
                + "\n" + (stat == null ? null : show(stat)));
        admin.reconfigure(joining, leaving, null, version, callback, title);
        say("asynchronously", done.get(20, TimeUnit.SECONDS));
    }

    private static String show(Stat stat) {
        return "version=" + Long.toHexString(stat.getMzxid()) + " " + stat.getCzxid()
                + " " + stat.getPzxid() + " " + stat.getCtime() + " " + stat.getVersion()
                + " " + stat.getCversion() + " " + stat.getAversion()
                + " " + stat.getEphemeralOwner() + " " + stat.getNumChildren();
    }

    private static void say(String what, String text) {
        System.out.println("== " + what + "\n" + text);
    }
}
