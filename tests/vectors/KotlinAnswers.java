import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import kotlin.jvm.internal.BooleanCompanionObject;
import kotlin.jvm.internal.IntCompanionObject;
import kotlin.text.StringsKt;
import kotlinx.serialization.KSerializer;
import kotlinx.serialization.builtins.BuiltinSerializersKt;
import kotlinx.serialization.json.Json;
import kotlinx.serialization.json.JsonArray;
import kotlinx.serialization.json.JsonElement;
import kotlinx.serialization.json.JsonObject;
import kotlinx.serialization.json.JsonPrimitive;

/**
 * What Kotlin's standard library and kotlinx.serialization answer; run by kotlin_answers.py, which writes the vectors.
 *
 * Each line of input is a kind and a base64 text, separated by a blank; each line of output is JSON, null where Kotlin throws or
 * has no value. "json" is answered with the element, each scalar in it as the text of its content; "int" and "boolean" with what a
 * field of that type becomes, as text, where the text is its JSON; "toInt", "toLong" and "toBoolean" with what these functions
 * make of the text itself.
 */
public class KotlinAnswers {
    private static final KSerializer<List<Integer>> INTS =
        BuiltinSerializersKt.ListSerializer(BuiltinSerializersKt.serializer(IntCompanionObject.INSTANCE));
    private static final KSerializer<List<Boolean>> BOOLEANS =
        BuiltinSerializersKt.ListSerializer(BuiltinSerializersKt.serializer(BooleanCompanionObject.INSTANCE));

    public static void main(String[] arguments) throws Exception {
        var input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        var output = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            String[] parts = line.split(" ", -1);
            String text = new String(Base64.getDecoder().decode(parts[1]), StandardCharsets.UTF_16BE);
            output.println(answer(parts[0], text));
        }
        output.flush();
    }

    private static String answer(String kind, String text) {
        try {
            return switch (kind) {
                case "json" -> shown(Json.Default.parseToJsonElement(text));
                case "int" -> quoted(only(Json.Default.decodeFromString(INTS, "[" + text + "]")));
                case "boolean" -> quoted(only(Json.Default.decodeFromString(BOOLEANS, "[" + text + "]")));
                case "toInt" -> quoted(StringsKt.toIntOrNull(text));
                case "toLong" -> quoted(StringsKt.toLongOrNull(text));
                default -> quoted(Boolean.parseBoolean(text));
            };
        } catch (RuntimeException exception) {
            return "null";
        }
    }

    private static Object only(List<?> values) {
        if (values.size() != 1) {
            throw new IllegalArgumentException("not one value");
        }
        return values.get(0);
    }

    private static String shown(JsonElement element) {
        if (element instanceof JsonArray array) {
            return array.stream().map(KotlinAnswers::shown).collect(Collectors.joining(",", "[", "]"));
        }
        if (element instanceof JsonObject object) {
            return object.entrySet().stream().map(KotlinAnswers::member).collect(Collectors.joining(",", "{", "}"));
        }
        return quoted(((JsonPrimitive) element).getContent());
    }

    private static String member(Map.Entry<String, JsonElement> member) {
        return quoted(member.getKey()) + ":" + shown(member.getValue());
    }

    private static String quoted(Object value) {
        if (value == null) {
            return "null";
        }
        return value.toString().chars().mapToObj(unit -> String.format("\\u%04x", unit)).collect(Collectors.joining("", "\"", "\""));
    }
}
