package com.amazonaws.services.glue;

import org.apache.spark.SparkContext;

/** Stands in for Glue's own class: the Python GlueContext makes one and asks it nothing. */
public class GlueContext {
    public GlueContext(SparkContext context) {
        if (context.isStopped()) {
            throw new IllegalStateException("the SparkContext was stopped");
        }
    }
}
