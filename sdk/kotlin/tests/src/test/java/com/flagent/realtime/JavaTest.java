package com.flagent.realtime;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.flagent.realtime.future.FlagentFlags;
import com.flagent.realtime.future.TableRows;
import java.math.BigDecimal;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** The SDK as a program in Java uses it. */
class JavaTest {
    private static final String FLAG = "{\"id\":1,\"key\":\"new_payment_flow\",\"enabled\":true,\"segments\":[{\"id\":3,\"rank\":0,"
            + "\"rolloutPercent\":100,\"constraints\":[{\"id\":4,\"property\":\"country\",\"operator\":\"EQ\",\"value\":\"US\"}],"
            + "\"distributions\":[{\"id\":1,\"variantID\":5,\"percent\":100}]}],\"variants\":[{\"id\":5,\"key\":\"on\"}]}";

    private final ScriptedServer server = new ScriptedServer();

    @AfterEach
    void close() {
        server.close();
    }

    private static String connected(int position) {
        return "{\"type\":\"subscribed\",\"position\":\"" + position + "\",\"id\":\"" + position + "@k\",\"fresh\":true}";
    }

    private static String snapshot(int position, String... flags) {
        return "{\"type\":\"snapshot\",\"id\":\"" + position + "@k\",\"position\":\"" + position + "\",\"flags\":["
                + String.join(",", flags) + "]}";
    }

    @Test
    void flagsAreFollowedAndEvaluatedWithoutCoroutines() throws Exception {
        BlockingQueue<String> changes = new LinkedBlockingQueue<>();
        BlockingQueue<FlagentException> errors = new LinkedBlockingQueue<>();
        try (FlagentFlags flags = FlagentFlags.builder("http://localhost:" + server.getPort())
                .apiKey(() -> "from a vault")
                .connectTimeout(5, TimeUnit.SECONDS)
                .reconnectDelay(1, 5, TimeUnit.MILLISECONDS)
                .onError(errors::add)
                .build()) {
            flags.onChange(change -> changes.add(change.getKind() + " " + change.getKey()));
            CompletableFuture<Void> ready = flags.ready(60, TimeUnit.SECONDS);
            Peer peer = server.acceptWebSocket();
            assertEquals("from a vault", peer.getHeaders().get("x-api-key"));
            peer.receive();
            peer.send(connected(3));
            peer.send(snapshot(3, FLAG));
            ready.join();
            assertEquals(StoreStatus.READY, flags.getStatus());
            assertEquals(FlagSource.SERVER, flags.getSource());
            assertEquals("CREATED new_payment_flow", changes.poll(60, TimeUnit.SECONDS));
            assertEquals("on", flags.evaluate("new_payment_flow", "user123", Map.of("country", "US")).getVariantKey());
            assertNull(flags.evaluate("new_payment_flow", "user123").getVariantKey());
            assertTrue(flags.get("new_payment_flow").getEnabled());
            assertEquals(1, flags.getAll().size());
            flags.waitFor("3", 60, TimeUnit.SECONDS).join();
            CompletionException late = assertThrows(CompletionException.class,
                    () -> flags.waitFor("9", 10, TimeUnit.MILLISECONDS).join());
            assertInstanceOf(NotReadyException.class, late.getCause());
            assertThrows(IllegalStateException.class, () -> flags.evaluateOnServer("new_payment_flow", "user123"));
        }
        assertNull(errors.poll());
    }

    @Test
    void theServerEvaluatesOverAWebSocket() {
        try (FlagentFlags flags = FlagentFlags.builder(server.getWs()).webSocket().apiKey("k").maxAttempts(3).build()) {
            CompletableFuture<EvaluationResult> result = flags.evaluateOnServer("a", "user123", Map.of("age", 30));
            Peer peer = server.acceptWebSocket();
            peer.receive();
            String request = peer.receive().toString();
            String id = request.replaceAll(".*\"requestId\":\"([^\"]*)\".*", "$1");
            peer.send("{\"type\":\"evaluation_result\",\"requestId\":\"" + id + "\",\"result\":{\"flagKey\":\"a\",\"variantKey\":\"on\"}}");
            assertEquals("on", result.join().getVariantKey());
        }
    }

    @Test
    void anOwnPersistenceAndABootstrap() {
        Map<String, String> texts = new java.util.concurrent.ConcurrentHashMap<>();
        Persistence memory = new Persistence() {
            @Override
            public String load(String key) {
                return texts.get(key);
            }

            @Override
            public void save(String key, String text) {
                texts.put(key, text);
            }
        };
        try (FlagentFlags flags = FlagentFlags.builder(server.getHttp()).eventStream().persistence(memory).bootstrap("[" + FLAG + "]")
                .maxAge(7, TimeUnit.DAYS).select(List.of("new_payment_flow"), List.of()).startLater().build()) {
            assertEquals(FlagSource.BOOTSTRAP, flags.getSource());
            assertEquals(StoreStatus.STALE, flags.getStatus());
            CompletionException offline = assertThrows(CompletionException.class, () -> flags.ready(1, TimeUnit.SECONDS).join());
            assertInstanceOf(OfflineException.class, offline.getCause());
            flags.start();
            server.accept();
        }
        assertThrows(IllegalArgumentException.class, () -> FlagentFlags.builder("ftp://x").build());
    }

    @Test
    void rowsOfATable() {
        try (FlagentFlags flags = FlagentFlags.builder(server.getHttp()).eventStream().startLater().build()) {
            flags.start();
            server.accept();
            try (TableRows orders = flags.table("shop.orders").where("tenant = $1", 7).columns("id", "total").maxRows(10).build()) {
                Peer peer = server.acceptStream("");
                assertTrue(peer.getQuery().contains("param=7"));
                peer.event("rows", "{\"type\":\"rows\",\"rows\":[{\"key\":{\"id\":1},\"row\":{\"id\":1,\"total\":10.50}}]}", null);
                peer.event("connected", connected(3), null);
                peer.event("rows_end", "{\"type\":\"rows_end\",\"id\":\"3@k\",\"position\":\"3\"}", "3@k");
                orders.ready(60, TimeUnit.SECONDS).join();
                assertEquals(new BigDecimal("10.50"), orders.get(1).get("total"));
                assertFalse(orders.getAll().isEmpty());
            }
        }
    }
}
