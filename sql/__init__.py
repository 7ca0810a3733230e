"""All SQL of the project as text: database objects, named queries, migrations."""
