"""What both programs show a person: what their doctors find, how plug-ins fare, and the rows that wait for a look."""
