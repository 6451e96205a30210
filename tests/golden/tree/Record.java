import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import org.apache.zookeeper.*;
import org.apache.zookeeper.data.*;

/**
 * Makes the transactions in txns.hex (one a line, as they stand in the log, without checksum and
 * length) and prints tree.txt. Argument: host:port of a standalone server with an empty directory
 * and -Dzookeeper.extendedTypesEnabled=true.
 */
public class Record {
    static final List<ACL> OPEN = ZooDefs.Ids.OPEN_ACL_UNSAFE;

    static ZooKeeper connect(String server) throws Exception {
        CountDownLatch connected = new CountDownLatch(1);
        ZooKeeper zk = new ZooKeeper(server, 30000, event -> connected.countDown());
        connected.await();
        return zk;
    }

    static void dump(ZooKeeper zk, String path) throws Exception {
        Stat s = new Stat();
        byte[] data = zk.getData(path, false, s);
        String text = data == null ? "null" : data.length == 0 ? "empty" : new String(data);
        System.out.println(path + " " + text + " v=" + s.getVersion() + " cv=" + s.getCversion()
            + " av=" + s.getAversion() + " owner=" + Long.toHexString(s.getEphemeralOwner())
            + " len=" + s.getDataLength() + " n=" + s.getNumChildren()
            + " z=" + s.getCzxid() + "," + s.getMzxid() + "," + s.getPzxid());
        List<String> children = new ArrayList<>(zk.getChildren(path, false));
        Collections.sort(children);
        for (String child : children) {
            dump(zk, (path.equals("/") ? "" : path) + "/" + child);
        }
    }

    static void failing(ZooKeeper zk) throws Exception {
        try {
            zk.delete("/nope", -1);
        } catch (KeeperException e) {
            System.err.println(e);
        }
    }

    static void multis(ZooKeeper zk) throws Exception {
        zk.multi(List.of(
            Op.create("/m", new byte[] {1, 2}, OPEN, CreateMode.PERSISTENT),
            Op.create("/m/x", new byte[0], OPEN, CreateMode.EPHEMERAL),
            Op.setData("/m", "mm".getBytes(), 0),
            Op.check("/m", 1),
            Op.delete("/a/b", -1),
            Op.create("/m/t", null, OPEN, CreateMode.PERSISTENT_WITH_TTL, 5000000L)));
        try {
            zk.multi(List.of(
                Op.create("/m/y", new byte[0], OPEN, CreateMode.PERSISTENT),
                Op.check("/m", 7),
                Op.delete("/m", -1)));
        } catch (KeeperException e) {
            System.err.println(e);
        }
    }

    static void quota(ZooKeeper zk) throws Exception {
        CreateMode mode = CreateMode.PERSISTENT;
        String quota = "/zookeeper/quota/m";
        zk.create(quota, null, OPEN, mode);
        zk.create(quota + "/zookeeper_limits", "count=10,bytes=-1".getBytes(), OPEN, mode);
        zk.create(quota + "/zookeeper_stats", "count=0,bytes=0".getBytes(), OPEN, mode);
        zk.create("/m/q", "12345".getBytes(), OPEN, mode);
        zk.setData("/m/q", "123".getBytes(), -1);
        zk.create("/m/q/deep", "1".getBytes(), OPEN, mode);
        zk.delete("/m/q/deep", -1);
        zk.setData("/zookeeper/quota", "q".getBytes(), -1);
    }

    public static void main(String[] args) throws Exception {
        ZooKeeper zk = connect(args[0]);
        ZooKeeper other = connect(args[0]);
        zk.create("/a", "x".getBytes(), OPEN, CreateMode.PERSISTENT);
        zk.create("/a/b", null, OPEN, CreateMode.PERSISTENT, new Stat());
        zk.create("/a/e", new byte[0], OPEN, CreateMode.EPHEMERAL);
        other.create("/a/e2", "two".getBytes(), OPEN, CreateMode.EPHEMERAL);
        other.create("/a/s-", "seq".getBytes(), OPEN, CreateMode.EPHEMERAL_SEQUENTIAL);
        zk.create("/a/s-", "seq".getBytes(), OPEN, CreateMode.PERSISTENT_SEQUENTIAL);
        zk.create("/c", new byte[0], OPEN, CreateMode.CONTAINER);
        zk.create("/c/k", null, OPEN, CreateMode.PERSISTENT);
        CreateMode ttl = CreateMode.PERSISTENT_WITH_TTL;
        zk.create("/t", "ttl".getBytes(), OPEN, ttl, new Stat(), 3600000L);
        zk.create("/\u00e9", "uni".getBytes(), OPEN, CreateMode.PERSISTENT);
        zk.setData("/a", "hello".getBytes(), 0);
        zk.setData("/", "root".getBytes(), -1);
        zk.setData("/a/b", null, -1);
        ACL notDelete = new ACL(ZooDefs.Perms.ALL & ~ZooDefs.Perms.DELETE,
            ZooDefs.Ids.ANYONE_ID_UNSAFE);
        zk.setACL("/a", new ArrayList<>(List.of(notDelete)), 0);
        zk.setACL("/", OPEN, -1);
        zk.setACL("/a", OPEN, -1);
        failing(zk);
        multis(zk);
        quota(zk);
        zk.delete("/c/k", -1);
        zk.setData("/t", "ttl2".getBytes(), -1);
        other.close();
        zk.create("/big", new byte[1200], OPEN, CreateMode.PERSISTENT);
        zk.setData("/big", "small".getBytes(), -1);
        zk.create("/a/last", null, OPEN, CreateMode.PERSISTENT);
        dump(zk, "/");
        System.out.flush();
        Runtime.getRuntime().halt(0); // /a/e and /m/x stay
    }
}
