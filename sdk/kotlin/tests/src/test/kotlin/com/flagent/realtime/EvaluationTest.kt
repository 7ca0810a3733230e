package com.flagent.realtime

import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonArray
import kotlinx.serialization.json.JsonNull
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive
import kotlinx.serialization.json.booleanOrNull
import kotlinx.serialization.json.doubleOrNull
import kotlinx.serialization.json.jsonArray
import kotlinx.serialization.json.jsonObject
import kotlinx.serialization.json.jsonPrimitive
import kotlinx.serialization.json.longOrNull
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.DynamicTest
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.TestFactory
import java.lang.management.ManagementFactory
import java.nio.file.Files
import java.nio.file.Path
import kotlin.time.Duration

/** Local evaluation: the shared vectors, bounded regular expressions, dependencies. */
class EvaluationTest {
    private val vectors = Path.of(System.getProperty("flagent.vectors")).resolve("../../tests/vectors").normalize()

    private fun read(name: String) = Json.parseToJsonElement(Files.readString(vectors.resolve(name)))

    private fun store(flags: List<JsonObject>) = StoreCore().apply {
        val live = flags.filter { it.bool("archived") != true }.mapNotNull(Flag::of)
        receive(Duration.ZERO, Message.SnapshotMessage(Snapshot("1@k", "1", live), null))
    }

    private fun StoreCore.evaluate(name: String, id: Int?, key: String?, entity: EvaluationEntity) =
        LocalEvaluation({ compiled(it, null) }).evaluate(enabled(name, null), id, key, entity, position)

    private fun plain(value: JsonPrimitive): Any? = when {
        value is JsonNull -> null
        value.isString -> value.content
        else -> value.booleanOrNull ?: value.longOrNull ?: value.doubleOrNull
    }

    @TestFactory
    fun `the vectors of the server`() = read("evaluation_vectors.json").jsonArray.map { it.jsonObject }.map { case ->
        DynamicTest.dynamicTest(case.text("name")) {
            val store = store(listOf(case.getValue("flag").jsonObject) + case.objects("otherFlags"))
            val request = case.getValue("request").jsonObject
            val entity = EvaluationEntity(
                request.text("entityID"),
                request.text("entityType"),
                request.obj("entityContext")?.mapValues { plain(it.value.jsonPrimitive) },
            )
            val id = request.int("flagID")
            val key = request.text("flagKey")
            val result = store.evaluate(id?.toString() ?: key.orEmpty(), id, key, entity)
            for ((name, expected) in case.getValue("expected").jsonObject) {
                when (name) {
                    "flagID" -> assertEquals(expected.jsonPrimitive.content.toInt(), result.flagID)
                    "flagKey" -> assertEquals(expected.jsonPrimitive.content, result.flagKey)
                    "flagSnapshotID" -> assertEquals(expected.jsonPrimitive.content.toInt(), result.flagSnapshotID)
                    "flagTags" -> assertEquals(expected.jsonArray.map { it.jsonPrimitive.content }, result.flagTags)
                    "segmentID" -> assertEquals(expected.jsonPrimitive.longOrNull, result.segmentID?.toLong())
                    "variantID" -> assertEquals(expected.jsonPrimitive.longOrNull, result.variantID?.toLong())
                    "variantKey" -> assertEquals(plain(expected.jsonPrimitive), result.variantKey)
                    "variantAttachment" -> assertEquals((expected as? JsonObject)?.toTexts(), result.variantAttachment)
                    "evalContext" -> for ((part, value) in expected.jsonObject) {
                        if (part != "entityContext") assertEquals(value, result.evalContext!!.getValue(part), part)
                    }
                    else -> error("unknown member $name")
                }
            }
        }
    }

    @Test
    fun `numbers are parsed as by Java`() {
        for (case in read("java_double.json").jsonArray.map { it.jsonArray }) {
            val text = case[0].jsonPrimitive.content
            val number = ConstraintTest.number(text)
            val bits = number?.let { java.lang.Long.toHexString(java.lang.Double.doubleToLongBits(it)) }
            assertEquals(if (case[1] is JsonNull) null else case[1].jsonPrimitive.content, bits, text)
        }
    }

    @Test
    fun `expressions match as in Java, and few are undecided`() {
        val cases = read("java_regex.json").jsonArray.map { it.jsonArray }
        var undecided = 0
        for (case in cases) {
            val pattern = case[0].jsonPrimitive.content
            // Java 19 changed its meaning, as the server's.
            if (Runtime.version().feature() < 19 && Regex("\\\\[bB]").containsMatchIn(pattern)) continue
            val regex = BoundedRegex.of(pattern)
            val matching = (case[1] as? JsonArray)?.map { it.jsonPrimitive.content }.orEmpty().toSet()
            val tried = case.getOrNull(2)?.jsonArray?.map { it.jsonPrimitive.content } ?: listOf("", "a")
            val outcomes = tried.map { text -> regex.match(text) to if (text in matching) MatchOutcome.MATCHES else MatchOutcome.DIFFERS }
            if (outcomes.any { it.first == MatchOutcome.UNDECIDED }) undecided++
            for ((n, pair) in outcomes.withIndex()) {
                if (pair.first != MatchOutcome.UNDECIDED) assertEquals(pair.second, pair.first, "${case[0]} on ${tried[n]}")
            }
        }
        assertTrue(undecided <= cases.size / 100, "$undecided of ${cases.size}")
    }

    @Test
    fun `every expression ends in time (tc-regex-limits)`() {
        val threads = ManagementFactory.getThreadMXBean()
        val slow = listOf("(a+)+b", "(a|aa)+b", "(a?){40}a{40}b", ".*.*.*.*.*x", "(a{1,30}){1,30}b", "(|){40}b", "((a?){0,40}){40}b", "(a?|b?){40}c", "(x*)(?:\\1|\\1){40}b")
        for (pattern in slow) {
            val start = threads.currentThreadCpuTime
            for (value in listOf("a".repeat(39), "a".repeat(4096), "")) {
                assertTrue(BoundedRegex.of(pattern).match(value) != MatchOutcome.MATCHES, pattern)
            }
            assertTrue(threads.currentThreadCpuTime - start < 2_000_000_000, pattern)
        }
    }

    @Test
    fun `outside the limits neither EREG nor NEREG holds (tc-regex-limits)`() {
        for ((pattern, value) in listOf("a".repeat(1001) to "a", "a*" to "a".repeat(4097), ".*.*.*.*.*x" to "a".repeat(4000), "(|){40}b" to "")) {
            assertEquals(MatchOutcome.UNDECIDED, BoundedRegex.of(pattern).match(value), pattern.take(20))
            for (operator in listOf("EREG", "NEREG")) assertTrue(!ConstraintTest.of(Constraint(1, 1, "p", operator, pattern)).holds(value))
        }
        // An invalid expression never matches, so NEREG holds.
        assertTrue(ConstraintTest.of(Constraint(1, 1, "p", "NEREG", "[")).holds("["))
        assertTrue(!ConstraintTest.of(Constraint(1, 1, "p", "EREG", "[")).holds("["))
    }

    @Test
    fun `usual expressions are decided as by Java`() {
        val usual = listOf(
            "(foo|bar)+", "(a|b){3}", "(?:\\w+\\.)*\\w+@[a-z]+", "(?i)über", "(.*)?", "a?b?c?", "[^|(]*", "\\Q(|)\\E{2}", "(?!x)[a-z]*", "(?<name>a)b", "^(\\d+|)$", "((a|b)|c)*",
            "(?=a)a|b", "([a-z&&[^x]]|\\|)*", "(?i:A|B)*",
        )
        for (pattern in usual) {
            for (value in listOf("", "a", "foo", "foobar", "a.b@c", "ÜBER", "(|)(|)", "12", "ab")) {
                val expected = if (java.util.regex.Pattern.matches(pattern, value)) MatchOutcome.MATCHES else MatchOutcome.DIFFERS
                assertEquals(expected, BoundedRegex.of(pattern).match(value), "$pattern on $value")
            }
        }
    }

    private fun simple(id: Int, key: String, vararg dependsOn: String): JsonObject = Json.parseToJsonElement(
        """{"id":$id,"key":"$key","enabled":true,"dependsOn":[${dependsOn.joinToString { "\"$it\"" }}],""" +
            """"segments":[{"id":1,"rank":0,"rolloutPercent":100,"constraints":[],"distributions":[{"id":1,"variantID":1,"percent":100}]}],""" +
            """"variants":[{"id":1,"key":"on","attachment":null}]}""",
    ).jsonObject

    @Test
    fun `a dependency cycle of any length blocks, a long chain does not (tc-cycle)`() {
        val entity = EvaluationEntity("e")
        val chain = (1..3000).map { if (it < 3000) simple(it, "f$it", "f${it + 1}") else simple(it, "f$it") }
        assertEquals("on", store(chain).evaluate("f1", null, "f1", entity).variantKey)
        val cycle = store(chain.dropLast(1) + simple(3000, "f3000", "f2")).evaluate("f1", null, "f1", entity)
        assertNull(cycle.variantID)
        assertNull(cycle.segmentID)
        assertEquals("dependency \"f2\" is disabled or has no variant", cycle.evalDebugLog!!.text("msg"))
        assertNull(store(listOf(simple(1, "a", "a"))).evaluate("a", null, "a", entity).variantKey)
        assertEquals("dependency \"x\" not found", store(listOf(simple(1, "a", "x"))).evaluate("a", null, "a", entity).evalDebugLog!!.text("msg"))
    }

    @TestFactory
    fun `an entity's id is a text, as the compiler demands (tc-entity-id)`() =
        Json.parseToJsonElement(Files.readString(vectors.resolve("../../sdk/vectors/values.json"))).jsonObject.objects("entityID")
            .mapNotNull { case -> (case["value"] as? JsonPrimitive)?.takeIf { it.isString }?.let { case to it.content } }
            .map { (case, id) ->
                DynamicTest.dynamicTest(case.text("id")) {
                    val result = store(listOf(simple(1, "a"))).evaluate("a", null, "a", EvaluationEntity(id))
                    assertEquals(case.text("text"), result.entityID)
                }
            }

    @Test
    fun `a result has its position, a generated entity, and refuses values that no constraint compares`() {
        val store = store(listOf(simple(1, "a")))
        val result = store.evaluate("a", null, "a", EvaluationEntity(" "))
        assertEquals("1", result.position)
        assertTrue(result.entityID!!.startsWith("randomly_generated_"))
        assertTrue(result.timestamp!!.endsWith("Z"))
        val error = assertThrows(IllegalArgumentException::class.java) {
            store.evaluate("a", null, "a", EvaluationEntity("e", null, mapOf("p" to listOf(1))))
        }
        assertTrue("'p' is" in error.message!!)
    }
}
