import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooKeeper;

/**
 * A client loses its connection, the tree changes, the client comes back: which events do its
 * watches of all kinds get? Printed sorted, as a transcript. Argument: HOST:PORT.
 */
public final class Reconnect {
    /** Forwards connections to the server; can cut them and refuse new ones. */
    private static final class Proxy {
        private final ServerSocket listener =
                new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
        private final Set<Socket> open = ConcurrentHashMap.newKeySet();
        private final String host;
        private final int port;
        private volatile boolean refusing;

        Proxy(String address) throws IOException {
            int colon = address.lastIndexOf(':');
            host = address.substring(0, colon);
            port = Integer.parseInt(address.substring(colon + 1));
            start(this::accept);
        }

        private static void start(Runnable work) {
            Thread thread = new Thread(work);
            thread.setDaemon(true);
            thread.start();
        }

        private void accept() {
            try {
                while (true) {
                    Socket client = listener.accept();
                    if (refusing) {
                        client.close();
                        continue;
                    }
                    Socket server = new Socket(host, port);
                    open.add(client);
                    open.add(server);
                    start(() -> copy(client, server));
                    start(() -> copy(server, client));
                }
            } catch (IOException e) {
                throw new IllegalStateException(e);
            }
        }

        private static void copy(Socket from, Socket to) {
            try {
                InputStream in = from.getInputStream();
                OutputStream out = to.getOutputStream();
                byte[] buffer = new byte[8192];
                for (int n; (n = in.read(buffer)) > 0; ) {
                    out.write(buffer, 0, n);
                }
                to.close();
            } catch (IOException e) {
                // One side is gone; the other is closed by cut().
            }
        }

        void cut() throws IOException {
            refusing = true;
            for (Socket socket : open) {
                socket.close();
            }
            open.clear();
        }

        void heal() {
            refusing = false;
        }
    }

    private static final class States implements Watcher {
        private final BlockingQueue<Event.KeeperState> queue = new LinkedBlockingQueue<>();

        @Override
        public void process(WatchedEvent event) {
            if (event.getType() == Event.EventType.None) {
                queue.add(event.getState());
            }
        }

        void await(Event.KeeperState state) throws InterruptedException {
            while (true) {
                Event.KeeperState got = queue.poll(20, TimeUnit.SECONDS);
                if (got == null) {
                    throw new IllegalStateException("never " + state);
                } else if (got == state) {
                    return;
                }
            }
        }
    }

    private static final Map<String, Set<String>> EVENTS = new TreeMap<>();

    /** A watcher whose events about nodes are kept under its name. */
    private static Watcher watcher(String name) {
        return event -> {
            if (event.getType() != Watcher.Event.EventType.None) {
                synchronized (EVENTS) {
                    EVENTS.computeIfAbsent(name, k -> new TreeSet<>())
                            .add(event.getType() + " " + event.getPath());
                }
            }
        };
    }

    private static void print(String title) {
        System.out.println("== " + title);
        synchronized (EVENTS) {
            EVENTS.forEach((name, events) -> System.out.println(name + ": " + events));
            EVENTS.clear();
        }
    }

    private static void make(ZooKeeper zk, String path) throws Exception {
        zk.create(path, new byte[0], Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
    }

    /** Waits until every event that the server sent before now has been handed to its watcher. */
    private static void settle(ZooKeeper zk) throws Exception {
        CountDownLatch reached = new CountDownLatch(1);
        zk.exists("/", false, (rc, path, ctx, stat) -> reached.countDown(), null);
        reached.await(10, TimeUnit.SECONDS);
    }

    private static void watchAll(ZooKeeper zk) throws Exception {
        for (String path : new String[] {"/same", "/changed", "/gone", "/grown"}) {
            zk.getData(path, watcher("data " + path), null);
            zk.getChildren(path, watcher("child " + path));
            zk.exists(path, watcher("exists " + path));
        }
        zk.exists("/new", watcher("exists /new"));
        zk.exists("/never", watcher("exists /never"));
        zk.addWatch("/changed", watcher("persistent /changed"), AddWatchMode.PERSISTENT);
        zk.addWatch("/grown", watcher("recursive /grown"), AddWatchMode.PERSISTENT_RECURSIVE);
    }

    /** Many watches make the client send setWatches in several requests of about 128 KiB. */
    private static void watchMany(ZooKeeper zk) throws Exception {
        String tail = "x".repeat(200);
        for (int n = 0; n < 2000; n++) {
            zk.exists("/many" + n + tail, watcher("many"));
        }
    }

    public static void main(String[] args) throws Exception {
        Proxy proxy = new Proxy(args[0]);
        String through = "127.0.0.1:" + proxy.listener.getLocalPort();
        States states = new States();
        ZooKeeper zk = new ZooKeeper(through, 30000, states);
        States others = new States();
        ZooKeeper other = new ZooKeeper(args[0], 30000, others);
        states.await(Watcher.Event.KeeperState.SyncConnected);
        others.await(Watcher.Event.KeeperState.SyncConnected);
        for (String path : new String[] {"/same", "/changed", "/gone", "/grown"}) {
            make(zk, path);
        }
        watchAll(zk);
        watchMany(zk);
        proxy.cut();
        states.await(Watcher.Event.KeeperState.Disconnected);
        other.setData("/changed", new byte[1], -1);
        other.delete("/gone", -1);
        make(other, "/grown/child");
        make(other, "/new");
        make(other, "/many7" + "x".repeat(200));
        proxy.heal();
        states.await(Watcher.Event.KeeperState.SyncConnected);
        settle(zk);
        print("events at reconnection");
        other.setData("/same", new byte[1], -1);
        other.setData("/changed", new byte[1], -1);
        make(other, "/same/child");
        make(other, "/grown/second");
        make(other, "/never");
        make(other, "/many8" + "x".repeat(200));
        other.delete("/same/child", -1);
        settle(zk);
        print("events after it");
        zk.close();
        other.close();
    }
}
