<%= text_of("compose/with-secrets.sh", plan) -%>
