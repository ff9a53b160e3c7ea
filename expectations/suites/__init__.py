"""What a table's contract and settings cannot say: LAYER_NAME.py, only for a table with something special.

CONDITIONS are SQL that each row meets, by name. COLUMNS are further values of each row, as SQL, by name.
expectations(settings) gives expectations about these or about the table's own columns. Each of the three is optional;
expectations/table_suite.py adds them to what the contract says. The SQL is DataFusion's, and `t` is the table.
"""
