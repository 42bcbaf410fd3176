"""Which file types exist, as rows that people may also write with SQL;
not what a type may say, nor what became of files.
"""
