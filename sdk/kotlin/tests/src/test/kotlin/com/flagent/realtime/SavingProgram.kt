package com.flagent.realtime

import java.io.File
import java.io.IOException

/** Saves texts of one letter each, of the given length, until it is killed or a save fails. */
object SavingProgram {
    @JvmStatic
    fun main(arguments: Array<String>) {
        val persistence = FilePersistence(File(arguments[0]))
        val length = arguments[1].toInt()
        var n = 0
        while (true) {
            try {
                persistence.save("0".repeat(64), ('a' + n % 26).toString().repeat(length))
            } catch (e: IOException) {
                println(e)
                return
            }
            if (n++ == 0) println("saving")
        }
    }
}
