"""The Spark session, its Java and its workers, and every private name of PySpark; not what the tasks do."""
