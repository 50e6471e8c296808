package com.amazonaws.services.glue.log;

/** Stands in for Glue's continuous log, which the Python GlueContext opens when it is made. */
public class GlueLogger {
    public void info(String message) {
        System.err.println("info " + message);
    }

    public void warn(String message) {
        System.err.println("warn " + message);
    }

    public void error(String message) {
        System.err.println("error " + message);
    }
}
