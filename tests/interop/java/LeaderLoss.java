import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Scanner;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.cache.CuratorCache;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.nodes.GroupMember;
import org.apache.curator.framework.recipes.nodes.PersistentNode;
import org.apache.curator.framework.recipes.shared.SharedCount;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.curator.retry.RetryNTimes;
import org.apache.zookeeper.CreateMode;

/**
 * Curator's recipes in use while the ensemble loses its leader, again and again. Prints `ready` and
 * waits for a line each time it wants the leader gone; after it, prints `ok NAME` for each recipe
 * that went on as if nothing had happened, or ends with an exception. Arguments: SERVERS ROUNDS.
 */
public final class LeaderLoss {
    private static final int SECONDS = 30;
    private static final int WORKERS = 4;
    private static final AtomicBoolean SESSION_LOST = new AtomicBoolean();
    private static final AtomicBoolean STOPPING = new AtomicBoolean();
    private static final AtomicInteger INSIDE = new AtomicInteger();
    private static final AtomicInteger TURNS = new AtomicInteger();
    private static CuratorFramework first;
    private static CuratorFramework second;

    public static void main(String[] args) throws Exception {
        first = client(args[0]);
        second = client(args[0]);
        first.create().forPath("/turns", bytes("0"));
        first.create().forPath("/cached");
        ExecutorService threads = Executors.newCachedThreadPool();
        List<Future<?>> workers = new ArrayList<>();
        for (int i = 0; i < WORKERS; i++) {
            CuratorFramework client = i % 2 == 0 ? first : second;
            workers.add(threads.submit(() -> takeTurns(client)));
        }
        Scanner input = new Scanner(System.in);
        for (int round = 0; round < Integer.parseInt(args[1]); round++) {
            round(round, input);
        }
        STOPPING.set(true);
        for (Future<?> worker : workers) {
            worker.get(SECONDS, TimeUnit.SECONDS);
        }
        check(number(second.getData().forPath("/turns")) == TURNS.get(), "every turn counted once");
        check(!SESSION_LOST.get(), "both sessions live");
        say("turns");
        threads.shutdown();
        first.close();
        second.close();
    }

    private static CuratorFramework client(String servers) throws Exception {
        CuratorFramework client = CuratorFrameworkFactory.builder().connectString(servers)
                .sessionTimeoutMs(30000).connectionTimeoutMs(15000)
                .retryPolicy(new RetryNTimes(300, 100)).build();
        client.getConnectionStateListenable().addListener((c, state) -> {
            if (state == ConnectionState.LOST && !STOPPING.get()) {
                SESSION_LOST.set(true);
            }
        });
        client.start();
        check(client.blockUntilConnected(SECONDS, TimeUnit.SECONDS), "connected");
        return client;
    }

    /** A counter that only the lock protects. What is written is repeatable: a retry, when an answer
     * was lost, writes the same once more. */
    private static Void takeTurns(CuratorFramework client) throws Exception {
        InterProcessMutex lock = new InterProcessMutex(client, "/lock");
        while (!STOPPING.get()) {
            lock.acquire();
            check(INSIDE.incrementAndGet() == 1, "alone inside");
            int turn = number(client.getData().forPath("/turns")) + 1;
            client.setData().forPath("/turns", bytes(Integer.toString(turn)));
            TURNS.incrementAndGet();
            INSIDE.decrementAndGet();
            lock.release();
        }
        return null;
    }

    private static void round(int round, Scanner input) throws Exception {
        String top = "/round" + round;
        InterProcessMutex held = new InterProcessMutex(first, top + "-held");
        InterProcessMutex wanted = new InterProcessMutex(second, top + "-held");
        held.acquire();
        try (CuratorCache cache = CuratorCache.build(first, "/cached");
                PersistentNode node = new PersistentNode(first, CreateMode.EPHEMERAL, false,
                        top + "-node", bytes("x"));
                GroupMember member = new GroupMember(first, top + "-group", "a");
                GroupMember other = new GroupMember(second, top + "-group", "b");
                SharedCount count = new SharedCount(first, top + "-count", 1);
                SharedCount seen = new SharedCount(second, top + "-count", 1)) {
            LeaderLatch latch = new LeaderLatch(first, top + "-latch", "a");
            LeaderLatch next = new LeaderLatch(second, top + "-latch", "b");
            cache.start();
            node.start();
            check(node.waitForInitialCreate(SECONDS, TimeUnit.SECONDS), "node created");
            member.start();
            other.start();
            count.start();
            seen.start();
            latch.start();
            check(latch.await(SECONDS, TimeUnit.SECONDS), "leads");
            next.start();
            await("two candidates", () -> latch.getParticipants().size() == 2);
            long owner = second.checkExists().forPath(top + "-node").getEphemeralOwner();
            int turns = TURNS.get();
            System.out.println("ready");
            input.nextLine();

            await("turns to be taken", () -> TURNS.get() > turns + 2 * WORKERS);
            check(!wanted.acquire(200, TimeUnit.MILLISECONDS), "the lock is held still");
            say("mutex held");
            check(second.checkExists().forPath(top + "-node").getEphemeralOwner() == owner,
                    "the same ephemeral node");
            say("persistent node");
            await("both members", () -> member.getCurrentMembers().size() == 2);
            say("group");
            count.setCount(42);
            await("the count", () -> seen.getCount() == 42);
            say("shared count");
            second.create().forPath("/cached/" + round, bytes("new"));
            await("the cache", () -> cache.size() == round + 2);
            say("cache");
            await("one leader", () -> latch.hasLeadership() != next.hasLeadership());
            LeaderLatch leads = latch.hasLeadership() ? latch : next;
            LeaderLatch follows = leads == latch ? next : latch;
            leads.close();
            check(follows.await(SECONDS, TimeUnit.SECONDS), "the other leads");
            follows.close();
            say("latch");
            held.release();
            check(wanted.acquire(SECONDS, TimeUnit.SECONDS), "the lock, when it is free");
            wanted.release();
            say("mutex handed on");
        }
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static int number(byte[] text) {
        return Integer.parseInt(new String(text, StandardCharsets.UTF_8));
    }

    private static void say(String name) {
        System.out.println("ok " + name);
    }

    private static void check(boolean holds, String what) {
        if (!holds) {
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
}
