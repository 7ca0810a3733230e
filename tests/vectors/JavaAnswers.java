import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;

/**
 * What Java answers; run by java_answers.py, which writes the vectors.
 *
 * Each line of input is a kind and base64 texts, separated by blanks. "regex PATTERN VALUE..." is answered with
 * "invalid" or one digit per value, 1 where the pattern matches the whole value, x where Java's stack overflowed, n where it threw.
 * "double TEXT" is answered with "invalid" or the number's 64 bits in hexadecimal.
 */
public class JavaAnswers {
    public static void main(String[] arguments) throws Exception {
        var input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        var output = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            String[] parts = line.split(" ", -1);
            output.println(parts[0].equals("regex") ? regex(parts) : number(text(parts[1])));
        }
        output.flush();
    }

    private static String text(String part) {
        return new String(Base64.getDecoder().decode(part), StandardCharsets.UTF_8);
    }

    private static String regex(String[] parts) {
        Pattern pattern;
        try {
            pattern = Pattern.compile(text(parts[1]));
        } catch (PatternSyntaxException exception) {
            return "invalid";
        } catch (RuntimeException exception) {
            // Kotlin's evaluator catches every exception alike.
            return "invalid";
        }
        var answer = new StringBuilder();
        for (int i = 2; i < parts.length; i++) {
            try {
                answer.append(pattern.matcher(text(parts[i])).matches() ? '1' : '0');
            } catch (StackOverflowError error) {
                answer.append('x');
            } catch (RuntimeException exception) {
                // A class such as [&&9-A] compiles to a null in Java 17; Kotlin's evaluator takes it for no match.
                answer.append('n');
            }
        }
        return answer.toString();
    }

    private static String number(String text) {
        try {
            return Long.toHexString(Double.doubleToLongBits(Double.parseDouble(text)));
        } catch (NumberFormatException exception) {
            return "invalid";
        }
    }
}
