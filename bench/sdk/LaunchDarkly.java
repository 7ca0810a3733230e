import com.launchdarkly.logging.Logs;
import com.launchdarkly.sdk.ContextKind;
import com.launchdarkly.sdk.LDContext;
import com.launchdarkly.sdk.LDValue;
import com.launchdarkly.sdk.server.Components;
import com.launchdarkly.sdk.server.LDClient;
import com.launchdarkly.sdk.server.LDConfig;
import com.launchdarkly.sdk.server.integrations.TestData;
import java.lang.management.ManagementFactory;
import java.util.Arrays;

/**
 * LaunchDarkly's Java SDK with test data, without an account, beside the Kotlin SDK: evaluations per second of processor time, in one thread. bench/sdk/kotlin
 * runs it.
 */
class LaunchDarkly {
    private static final int ROUNDS = 7;
    private static final int CALLS = 2000;
    private static boolean result;

    public static void main(String[] arguments) throws Exception {
        int flags = Integer.parseInt(arguments[0]);
        TestData data = TestData.dataSource();
        for (int n = 0; n < flags; n++) {
            data.update(data.flag("flag_" + n).booleanFlag().ifMatch(ContextKind.DEFAULT, "country", LDValue.of("DE")).thenReturn(true).fallthroughVariation(false));
        }
        LDConfig config = new LDConfig.Builder().dataSource(data).events(Components.noEvents()).logging(Components.logging(Logs.none())).build();
        String[] keys = new String[flags];
        for (int n = 0; n < flags; n++) keys[n] = "flag_" + n;
        LDContext[] contexts = new LDContext[1000];
        for (int n = 0; n < contexts.length; n++) contexts[n] = LDContext.builder("user" + n).set("country", "DE").set("age", 33).build();
        try (LDClient client = new LDClient("sdk-key", config)) {
            if (!client.isInitialized()) throw new IllegalStateException("LaunchDarkly's SDK is not initialized");
            System.out.println("{\"launchDarklyVersion\":\"" + client.version() + "\",\"launchDarklyEvaluationsPerSecond\":" + perSecond(client, keys, contexts) + "}");
        }
    }

    /** The median of several rounds, the first of which compiles. */
    private static long perSecond(LDClient client, String[] keys, LDContext[] contexts) {
        var thread = ManagementFactory.getThreadMXBean();
        long[] rates = new long[ROUNDS];
        for (int round = -1; round < ROUNDS; round++) {
            long began = thread.getCurrentThreadCpuTime(), calls = 0, spent = 0;
            while (spent < 500_000_000L) {
                for (long end = calls + CALLS; calls < end; calls++) {
                    result ^= client.boolVariation(keys[(int) (calls % keys.length)], contexts[(int) (calls % contexts.length)], false);
                }
                spent = thread.getCurrentThreadCpuTime() - began;
            }
            if (round >= 0) rates[round] = calls * 1_000_000_000L / spent;
        }
        Arrays.sort(rates);
        return rates[ROUNDS / 2];
    }
}
