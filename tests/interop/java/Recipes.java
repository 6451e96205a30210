import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.api.transaction.CuratorTransactionResult;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicLong;
import org.apache.curator.framework.recipes.barriers.DistributedBarrier;
import org.apache.curator.framework.recipes.barriers.DistributedDoubleBarrier;
import org.apache.curator.framework.recipes.cache.CuratorCache;
import org.apache.curator.framework.recipes.cache.TreeCache;
import org.apache.curator.framework.recipes.cache.TreeCacheEvent;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.leader.LeaderSelector;
import org.apache.curator.framework.recipes.leader.LeaderSelectorListenerAdapter;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreV2;
import org.apache.curator.framework.recipes.locks.Lease;
import org.apache.curator.framework.recipes.nodes.GroupMember;
import org.apache.curator.framework.recipes.nodes.PersistentNode;
import org.apache.curator.framework.recipes.nodes.PersistentTtlNode;
import org.apache.curator.framework.recipes.queue.SimpleDistributedQueue;
import org.apache.curator.framework.recipes.shared.SharedCount;
import org.apache.curator.framework.recipes.watch.PersistentWatcher;
import org.apache.curator.retry.ExponentialBackoffRetry;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.data.Stat;

/**
 * Curator's recipes, each as its manual promises it, between two clients. Prints `ok NAME` or
 * `FAILED NAME: why` for each; ends with 1 if one failed. Arguments: SERVERS [NAME...].
 */
public final class Recipes {
    private static final int CLIENTS = 4;
    private static final int SECONDS = 30;
    private static CuratorFramework first;
    private static CuratorFramework second;
    private static final ExecutorService THREADS = Executors.newCachedThreadPool(work -> {
        Thread thread = new Thread(work);
        thread.setDaemon(true);
        return thread;
    });

    private interface Recipe {
        void run() throws Exception;
    }

    private static boolean failed;

    public static void main(String[] args) throws Exception {
        first = client(args[0]);
        second = client(args[0]);
        run("mutex", Recipes::mutex);
        run("read-write lock", Recipes::readWriteLock);
        run("semaphore", Recipes::semaphore);
        run("leader latch", Recipes::leaderLatch);
        run("leader selector", Recipes::leaderSelector);
        run("barrier", Recipes::barrier);
        run("double barrier", Recipes::doubleBarrier);
        run("queue", Recipes::queue);
        run("shared count", Recipes::sharedCount);
        run("atomic long", Recipes::atomicLong);
        run("group member", Recipes::groupMember);
        run("persistent node", Recipes::persistentNode);
        run("ttl node", Recipes::ttlNode);
        run("persistent watcher", Recipes::persistentWatcher);
        run("curator cache", Recipes::curatorCache);
        run("tree cache", Recipes::treeCache);
        run("container parents", Recipes::containers);
        run("transaction", Recipes::transaction);
        run("ensemble tracker", Recipes::ensembleTracker);
        first.close();
        second.close();
        System.exit(failed ? 1 : 0);
    }

    private static CuratorFramework client(String servers) throws Exception {
        CuratorFramework client = CuratorFrameworkFactory.builder().connectString(servers)
                .sessionTimeoutMs(20000).connectionTimeoutMs(15000)
                .retryPolicy(new ExponentialBackoffRetry(50, 8, 1000)).build();
        client.start();
        check(client.blockUntilConnected(SECONDS, TimeUnit.SECONDS), "connected");
        return client;
    }

    private static void run(String name, Recipe recipe) {
        try {
            recipe.run();
            System.out.println("ok " + name);
        } catch (Throwable e) {
            failed = true;
            System.out.println("FAILED " + name + ": " + e);
            e.printStackTrace();
        }
    }

    private static void check(boolean true_, String what) {
        if (!true_) {
            throw new AssertionError("not so: " + what);
        }
    }

    private static void await(String what, Callable<Boolean> condition) throws Exception {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(SECONDS);
        while (!condition.call()) {
            check(System.nanoTime() < end, what);
            Thread.sleep(10);
        }
    }

    private static byte[] bytes(String s) {
        return s.getBytes(StandardCharsets.UTF_8);
    }

    /** Runs work(0..n-1) at once, alternately over the two clients; fails if one of them does. */
    private static void together(int n, java.util.function.Function<Integer, Recipe> work)
            throws Exception {
        List<Future<?>> running = new ArrayList<>();
        for (int i = 0; i < n; i++) {
            Recipe mine = work.apply(i);
            running.add(THREADS.submit(() -> {
                mine.run();
                return null;
            }));
        }
        for (Future<?> future : running) {
            future.get(2 * SECONDS, TimeUnit.SECONDS);
        }
    }

    private static CuratorFramework client(int i) {
        return i % 2 == 0 ? first : second;
    }

    private static void mutex() throws Exception {
        AtomicInteger inside = new AtomicInteger();
        AtomicInteger turns = new AtomicInteger();
        together(CLIENTS, i -> () -> {
            InterProcessMutex lock = new InterProcessMutex(client(i), "/mutex");
            for (int turn = 0; turn < 10; turn++) {
                check(lock.acquire(SECONDS, TimeUnit.SECONDS), "lock acquired");
                check(inside.incrementAndGet() == 1, "alone inside");
                turns.incrementAndGet();
                inside.decrementAndGet();
                lock.release();
            }
        });
        check(turns.get() == 10 * CLIENTS, "all turns taken");
    }

    private static void readWriteLock() throws Exception {
        InterProcessReadWriteLock a = new InterProcessReadWriteLock(first, "/rw");
        InterProcessReadWriteLock b = new InterProcessReadWriteLock(second, "/rw");
        a.readLock().acquire();
        check(b.readLock().acquire(SECONDS, TimeUnit.SECONDS), "two readers");
        check(!b.writeLock().acquire(200, TimeUnit.MILLISECONDS), "no writer beside readers");
        a.readLock().release();
        b.readLock().release();
        check(b.writeLock().acquire(SECONDS, TimeUnit.SECONDS), "writer");
        check(!a.readLock().acquire(200, TimeUnit.MILLISECONDS), "no reader beside a writer");
        b.writeLock().release();
    }

    private static void semaphore() throws Exception {
        InterProcessSemaphoreV2 a = new InterProcessSemaphoreV2(first, "/semaphore", 2);
        InterProcessSemaphoreV2 b = new InterProcessSemaphoreV2(second, "/semaphore", 2);
        Lease one = a.acquire();
        Lease two = b.acquire(SECONDS, TimeUnit.SECONDS);
        check(two != null, "second lease");
        check(a.acquire(200, TimeUnit.MILLISECONDS) == null, "no third lease");
        a.returnLease(one);
        Lease three = b.acquire(SECONDS, TimeUnit.SECONDS);
        check(three != null, "lease given back");
        b.returnLease(two);
        b.returnLease(three);
    }

    private static void leaderLatch() throws Exception {
        LeaderLatch a = new LeaderLatch(first, "/latch", "a");
        LeaderLatch b = new LeaderLatch(second, "/latch", "b");
        a.start();
        check(a.await(SECONDS, TimeUnit.SECONDS), "first leads");
        b.start();
        await("both seen", () -> a.getParticipants().size() == 2);
        check(!b.hasLeadership(), "one leader");
        a.close();
        check(b.await(SECONDS, TimeUnit.SECONDS), "second leads after the first");
        check(b.getLeader().getId().equals("b"), "leader's name");
        b.close();
    }

    private static void leaderSelector() throws Exception {
        AtomicInteger leading = new AtomicInteger();
        CountDownLatch led = new CountDownLatch(6);
        List<LeaderSelector> all = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            LeaderSelector selector = new LeaderSelector(client(i), "/selector",
                    new LeaderSelectorListenerAdapter() {
                        @Override
                        public void takeLeadership(CuratorFramework client) {
                            check(leading.incrementAndGet() == 1, "one leader");
                            led.countDown();
                            leading.decrementAndGet();
                        }
                    });
            selector.autoRequeue();
            selector.start();
            all.add(selector);
        }
        check(led.await(SECONDS, TimeUnit.SECONDS), "led in turn");
        all.forEach(LeaderSelector::close);
    }

    private static void barrier() throws Exception {
        DistributedBarrier a = new DistributedBarrier(first, "/barrier");
        DistributedBarrier b = new DistributedBarrier(second, "/barrier");
        a.setBarrier();
        check(!b.waitOnBarrier(200, TimeUnit.MILLISECONDS), "barrier holds");
        Future<Boolean> waiting = THREADS.submit(() -> b.waitOnBarrier(SECONDS, TimeUnit.SECONDS));
        a.removeBarrier();
        check(waiting.get(), "barrier opens");
    }

    private static void doubleBarrier() throws Exception {
        AtomicInteger inside = new AtomicInteger();
        together(CLIENTS, i -> () -> {
            DistributedDoubleBarrier barrier =
                    new DistributedDoubleBarrier(client(i), "/double", CLIENTS);
            inside.incrementAndGet();
            check(barrier.enter(SECONDS, TimeUnit.SECONDS), "entered");
            check(inside.get() == CLIENTS, "all inside");
            check(barrier.leave(SECONDS, TimeUnit.SECONDS), "left");
        });
    }

    private static void queue() throws Exception {
        SimpleDistributedQueue in = new SimpleDistributedQueue(first, "/queue");
        SimpleDistributedQueue out = new SimpleDistributedQueue(second, "/queue");
        for (int i = 0; i < 50; i++) {
            check(in.offer(bytes("item" + i)), "offered");
        }
        for (int i = 0; i < 50; i++) {
            byte[] got = out.poll(SECONDS, TimeUnit.SECONDS);
            check(got != null && new String(got).equals("item" + i), "in order: " + i);
        }
        check(out.poll(100, TimeUnit.MILLISECONDS) == null, "empty");
    }

    private static void sharedCount() throws Exception {
        try (SharedCount a = new SharedCount(first, "/count", 1);
                SharedCount b = new SharedCount(second, "/count", 1)) {
            a.start();
            b.start();
            a.setCount(42);
            await("count seen", () -> b.getCount() == 42);
            check(b.trySetCount(b.getVersionedValue(), 43), "set by version");
            await("count seen back", () -> a.getCount() == 43);
        }
    }

    private static void atomicLong() throws Exception {
        together(CLIENTS, i -> () -> {
            DistributedAtomicLong value = new DistributedAtomicLong(client(i), "/atomic",
                    new ExponentialBackoffRetry(5, 25));
            for (int n = 0; n < 20; ) {
                if (value.increment().succeeded()) {
                    n++;
                }
            }
        });
        long sum = new DistributedAtomicLong(first, "/atomic",
                new ExponentialBackoffRetry(5, 25)).get().postValue();
        check(sum == 20 * CLIENTS, "sum is " + sum);
    }

    private static void groupMember() throws Exception {
        try (GroupMember a = new GroupMember(first, "/group", "a")) {
            GroupMember b = new GroupMember(second, "/group", "b");
            a.start();
            b.start();
            await("both are members", () -> a.getCurrentMembers().size() == 2);
            b.close();
            await("one has left", () -> a.getCurrentMembers().size() == 1);
        }
    }

    private static void persistentNode() throws Exception {
        try (PersistentNode node = new PersistentNode(first, CreateMode.EPHEMERAL, false, "/pn",
                bytes("x"))) {
            node.start();
            check(node.waitForInitialCreate(SECONDS, TimeUnit.SECONDS), "created");
            second.delete().forPath("/pn");
            await("created again", () -> second.checkExists().forPath("/pn") != null);
        }
        await("gone when closed", () -> second.checkExists().forPath("/pn") == null);
    }

    private static void ttlNode() throws Exception {
        PersistentTtlNode node = new PersistentTtlNode(first, "/ttlnode", 500, bytes("x"));
        node.start();
        check(node.waitForInitialCreate(SECONDS, TimeUnit.SECONDS), "created");
        Thread.sleep(1000); // Twice its TTL: the recipe itself must keep it alive.
        check(second.checkExists().forPath("/ttlnode") != null, "kept alive");
        node.close();
        await("reaped", () -> second.checkExists().forPath("/ttlnode") == null);
    }

    private static void persistentWatcher() throws Exception {
        BlockingQueue<WatchedEvent> events = new LinkedBlockingQueue<>();
        try (PersistentWatcher watcher = new PersistentWatcher(first, "/pw", true)) {
            CountDownLatch ready = new CountDownLatch(1);
            watcher.getResetListenable().addListener(ready::countDown);
            watcher.getListenable().addListener(events::add);
            watcher.start();
            check(ready.await(SECONDS, TimeUnit.SECONDS), "watching");
            second.create().forPath("/pw");
            second.create().forPath("/pw/a");
            second.setData().forPath("/pw/a", bytes("1"));
            second.delete().forPath("/pw/a");
            for (String expected : new String[] {"NodeCreated /pw", "NodeCreated /pw/a",
                    "NodeDataChanged /pw/a", "NodeDeleted /pw/a"}) {
                WatchedEvent event = events.poll(SECONDS, TimeUnit.SECONDS);
                check(event != null && expected.equals(event.getType() + " " + event.getPath()),
                        expected + " but " + event);
            }
        }
    }

    private static void curatorCache() throws Exception {
        try (CuratorCache cache = CuratorCache.build(first, "/cc")) {
            cache.start();
            for (int i = 0; i < 100; i++) {
                second.create().creatingParentsIfNeeded().forPath("/cc/" + i % 10 + "/" + i,
                        bytes("v" + i));
            }
            await("all in the cache", () -> cache.size() == 111);
            second.setData().forPath("/cc/3/53", bytes("new"));
            await("change in the cache", () -> cache.get("/cc/3/53")
                    .filter(d -> new String(d.getData()).equals("new")).isPresent());
            second.delete().deletingChildrenIfNeeded().forPath("/cc/3");
            await("deletion in the cache", () -> cache.size() == 100);
        }
    }

    private static void treeCache() throws Exception {
        List<String> seen = Collections.synchronizedList(new ArrayList<>());
        try (TreeCache cache = TreeCache.newBuilder(first, "/tc").build()) {
            CountDownLatch initialized = new CountDownLatch(1);
            cache.getListenable().addListener((client, event) -> {
                if (event.getType() == TreeCacheEvent.Type.INITIALIZED) {
                    initialized.countDown();
                } else if (event.getData() != null) {
                    seen.add(event.getType() + " " + event.getData().getPath());
                }
            });
            second.create().forPath("/tc");
            cache.start();
            check(initialized.await(SECONDS, TimeUnit.SECONDS), "initialized");
            second.create().forPath("/tc/a");
            second.create().forPath("/tc/a/b");
            await("nodes seen", () -> seen.contains("NODE_ADDED /tc/a/b"));
            second.setData().forPath("/tc/a/b", bytes("1"));
            await("change seen", () -> seen.contains("NODE_UPDATED /tc/a/b"));
            second.delete().deletingChildrenIfNeeded().forPath("/tc/a");
            await("deletion seen", () -> seen.contains("NODE_REMOVED /tc/a"));
        }
    }

    private static void containers() throws Exception {
        second.create().creatingParentContainersIfNeeded().forPath("/box/inner/leaf");
        Stat stat = second.checkExists().forPath("/box");
        check(stat != null && stat.getEphemeralOwner() == 0, "container's stat hides its kind");
        second.delete().forPath("/box/inner/leaf");
        await("containers reaped", () -> second.checkExists().forPath("/box") == null);
    }

    private static void transaction() throws Exception {
        List<CuratorTransactionResult> results = first.transaction().forOperations(
                first.transactionOp().create().forPath("/tx", bytes("1")),
                first.transactionOp().setData().forPath("/tx", bytes("2")),
                first.transactionOp().check().withVersion(1).forPath("/tx"),
                first.transactionOp().create().withMode(CreateMode.EPHEMERAL).forPath("/tx/e"));
        check(results.size() == 4, "four results");
        check(new String(second.getData().forPath("/tx")).equals("2"), "committed");
    }

    private static void ensembleTracker() throws Exception {
        check(first.getCurrentConfig() != null, "knows the current configuration");
        byte[] config = first.getConfig().forEnsemble();
        check(config != null, "reads the configuration node");
    }
}
