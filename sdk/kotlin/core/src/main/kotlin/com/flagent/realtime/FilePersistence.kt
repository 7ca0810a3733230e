package com.flagent.realtime

import java.io.File
import java.io.FileOutputStream
import java.io.IOException
import java.security.SecureRandom

/**
 * Saves flags as files of a directory, which is created for its owner alone. Several processes may share it: each reads a whole file at
 * every time, and the last one to save wins.
 */
public class FilePersistence(private val directory: File) : Persistence {
    public constructor(directory: String) : this(File(directory))

    private var isSwept = false

    override fun load(key: String): String? {
        val file = fileOf(key)
        if (!file.exists()) return null
        if (file.length() > MAX_BYTES) throw IOException("$file has ${file.length()} bytes, but the limit is $MAX_BYTES.")
        return file.readText()
    }

    override fun save(key: String, text: String) {
        prepare()
        val temporary = File(directory, PREFIX + key.take(KEY_DIGITS) + "." + random.nextLong().toULong().toString(16) + SUFFIX)
        try {
            if (!temporary.createNewFile()) throw IOException("$temporary exists already.")
            restrict(temporary, executable = false)
            FileOutputStream(temporary).use { output ->
                output.write(text.toByteArray())
                // Before the rename: after a power failure the new name must not stand for an empty file.
                output.fd.sync()
            }
            move(temporary, fileOf(key))
        } finally {
            temporary.delete()
        }
    }

    private fun fileOf(key: String) = File(directory, PREFIX + key.take(KEY_DIGITS) + ".json")

    private fun prepare() {
        if (!directory.isDirectory) {
            if (!directory.mkdirs() && !directory.isDirectory) throw IOException("The directory $directory cannot be created.")
            restrict(directory, executable = true)
        }
        if (!isSwept) sweep()
        isSwept = true
    }

    /** Removes what a process left that was killed while it wrote. */
    private fun sweep() {
        val before = System.currentTimeMillis() - ABANDONED_AFTER_MS
        directory.listFiles { file -> file.name.startsWith(PREFIX) && file.name.endsWith(SUFFIX) && file.lastModified() < before }
            ?.forEach { it.delete() }
    }

    // Not PosixFilePermissions, which Android has since API level 26 only. The file is still empty.
    private fun restrict(file: File, executable: Boolean) {
        file.setReadable(false, false)
        file.setWritable(false, false)
        file.setExecutable(false, false)
        file.setReadable(true, true)
        file.setWritable(true, true)
        if (executable) file.setExecutable(true, true)
    }

    private fun move(from: File, to: File) {
        if (from.renameTo(to)) return
        // Windows renames over no existing file; java.nio does, which Android has since API level 26 only.
        try {
            val files = Class.forName("java.nio.file.Files")
            val option = Class.forName("java.nio.file.CopyOption")
            val replace = Class.forName("java.nio.file.StandardCopyOption").getField("REPLACE_EXISTING").get(null)
            val options = java.lang.reflect.Array.newInstance(option, 1).also { java.lang.reflect.Array.set(it, 0, replace) }
            val path = Class.forName("java.nio.file.Path")
            val toPath = File::class.java.getMethod("toPath")
            files.getMethod("move", path, path, options.javaClass).invoke(null, toPath.invoke(from), toPath.invoke(to), options)
        } catch (e: ReflectiveOperationException) {
            throw IOException("$from cannot be renamed to $to: ${e.cause ?: e}", e.cause ?: e)
        }
    }

    private companion object {
        const val PREFIX = "flagent-"
        const val SUFFIX = ".tmp"
        const val KEY_DIGITS = 32
        const val MAX_BYTES = 256L * 1024 * 1024
        const val ABANDONED_AFTER_MS = 3_600_000L
        val random = SecureRandom()
    }
}
